"""Runs one operator as a task would: ``sync_once.py initial|incremental '{"resource": …}' <run id>``."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from types import SimpleNamespace

from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator

KINDS = {"initial": MakiniInitialSyncOperator, "incremental": MakiniIncrementalSyncOperator}


def main(kind: str, arguments: str, run_id: str) -> None:
    operator = KINDS[kind](task_id="sync", max_window=timedelta(days=5), **json.loads(arguments))
    context = {
        "ti": SimpleNamespace(dag_id="killed", run_id=run_id),
        "dag_run": SimpleNamespace(run_type="manual"),
    }
    print(json.dumps(operator.execute(context)))


if __name__ == "__main__":
    main(*sys.argv[1:])
