"""Brings the history of Makini's records, once: every connection, every resource."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from makini_provider.operators.planning import DagSettings, plan_items, run_form
from makini_provider.operators.sync import MakiniInitialSyncOperator

SETTINGS = DagSettings.from_environment()


@dag(
    dag_id="makini_initial_sync",
    description="Makini: complete snapshot of the history period",
    schedule="@once",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["makini"],
    params=run_form(),
    doc_md="""
### Makini: initial sync

Runs once by itself, and again by **Trigger**. Each resource of each connection is one mapped task.

- A failed or killed task goes on where it was when it is retried.
- Run again, it brings only what a longer `MAKINI_HISTORY_DAYS` adds.
- `makini_incremental_sync` skips a stream until this has completed it.

Each task returns a *receipt* (XCom): counts, files, watermark, warnings.
""",
)
def makini_initial_sync() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=1))
    def plan(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return plan_items(SETTINGS, params or {})

    MakiniInitialSyncOperator.partial(
        task_id="sync",
        destination=SETTINGS.destination,
        history=SETTINGS.history,
        map_index_template="{{ task.source }} · {{ task.resource }}",
        retries=3,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(minutes=30),
        execution_timeout=timedelta(hours=12),
        **SETTINGS.task_arguments,
    ).expand_kwargs(plan())


makini_initial_sync()
