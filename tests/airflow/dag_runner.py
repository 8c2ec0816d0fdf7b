"""Runs DAGs in one process, one request a line: the first takes seconds, the others a fraction of one.

A program of its own, so that Airflow's configuration, database and logs stay out of the tests' process.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import sys
import traceback
from datetime import datetime
from typing import Any
from unittest import mock


def main() -> None:
    # What is printed goes to stderr, which is the log; answers go where stdout was.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    talk_much()
    for line in sys.stdin:
        try:
            answer = answer_to(json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def talk_much() -> None:
    """Log all that is said about requests, past what Airflow masks, and print them as they are sent."""
    http.client.HTTPConnection.debuglevel = 1
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    for name in ("makini_provider", "requests", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    for name in [
        name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_", "MAKINI_"))
    ]:
        del os.environ[name]
    os.environ.update(request["environment"])

    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import timezone

    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], safe_mode=False)
    dag = bag.dags.get(request["dag_id"])
    if dag is None:
        raise LookupError(f"no DAG {request['dag_id']}: {bag.import_errors}")
    arguments: dict[str, Any] = {"run_conf": request["conf"]}
    if "logical_date" in request:
        text = request["logical_date"]
        arguments["logical_date"] = datetime.fromisoformat(text) if text else None
    interval = request.get("scheduled")
    if interval:
        start, end = (timezone.coerce_datetime(datetime.fromisoformat(text)) for text in interval)
        arguments["logical_date"] = start
        with mock.patch("airflow.models.dagrun.get_or_create_dagrun", as_scheduled(start, end)):
            run = dag.test(**arguments)
    else:
        run = dag.test(**arguments)
    return {"run_id": run.run_id, "state": str(getattr(run.state, "value", run.state))}


def as_scheduled(start: datetime, end: datetime) -> Any:
    """``dag.test`` makes manual runs only: let it make one as the scheduler would."""
    from airflow.models.dagrun import get_or_create_dagrun
    from airflow.utils.types import DagRunType

    def create(*, session: Any, **arguments: Any) -> Any:
        run = get_or_create_dagrun(session=session, **arguments)
        run.run_type, run.data_interval_start, run.data_interval_end = DagRunType.SCHEDULED, start, end
        session.commit()
        return run

    return create


if __name__ == "__main__":
    main()
