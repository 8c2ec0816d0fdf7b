"""Brings what was created or modified in Makini since the last successful sync."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, task

from makini_provider.operators.planning import DagSettings, plan_items, run_form
from makini_provider.operators.sync import MakiniIncrementalSyncOperator

SETTINGS = DagSettings.from_environment()


@dag(
    dag_id="makini_incremental_sync",
    description="Makini: what was created or modified since the last successful sync",
    # Named, since a plain cron string gives data intervals of no width in Airflow 3.
    schedule=CronDataIntervalTimetable(SETTINGS.schedule, timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # No catch-up: a run starts at the watermark, so that the next one heals whatever was missed.
    catchup=False,
    max_active_runs=1,
    tags=["makini"],
    params=run_form(),
    doc_md="""
### Makini: incremental sync

Each resource of each connection is one mapped task. Its window goes from the *watermark* (everything before
it is at the destination), less the lookback, to the end of the run's data interval. Triggered by hand it goes
up to now.

- Missed, skipped and failed runs leave no gap: the next run heals it. No catch-up needed.
- A stream without a completed initial sync is **skipped**, with the reason in its log: run
  `makini_initial_sync`.
- Clearing an old run reads its own interval again, which does no harm.

Each task returns a *receipt* (XCom): counts, files, watermark, warnings.
""",
)
def makini_incremental_sync() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=1))
    def plan(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return plan_items(SETTINGS, params or {})

    MakiniIncrementalSyncOperator.partial(
        task_id="sync",
        destination=SETTINGS.destination,
        history=SETTINGS.history,
        lookback=SETTINGS.lookback,
        before_initial="skip",
        map_index_template="{{ task.source }} · {{ task.resource }}",
        retries=3,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(minutes=15),
        execution_timeout=timedelta(hours=3),
        **SETTINGS.task_arguments,
    ).expand_kwargs(plan())


makini_incremental_sync()
