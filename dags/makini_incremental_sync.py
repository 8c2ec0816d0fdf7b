"""Brings what was created or modified in Makini since the last successful sync."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronDataIntervalTimetable, dag, task

from makini_provider.operators.gate import MakiniGateOperator
from makini_provider.operators.planning import DagSettings, plan_sources, plan_streams, run_form
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
- A connection that is refused (a token that has run out, say) fails at its `gate`, with the reason and what
  to do; its syncs are **skipped**, all others run.

Each sync returns a *receipt* (XCom): counts, files, watermark, warnings.
""",
)
def makini_incremental_sync() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=1))
    def sources(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return plan_sources(SETTINGS, params or {})

    @task
    def plan(found: list[dict[str, Any]], params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return plan_streams(SETTINGS, params or {}, found)

    found = sources()
    gate = MakiniGateOperator.partial(
        task_id="gate",
        map_index_template="{{ task.source }}",
        retries=2,
        retry_delay=timedelta(minutes=1),
        execution_timeout=timedelta(minutes=15),
    ).expand_kwargs(found)
    syncs = MakiniIncrementalSyncOperator.partial(
        task_id="sync",
        gate_task_id="gate",
        # Also after a gate that failed: its source's syncs are skipped with the reason, all others run.
        trigger_rule="all_done",
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
    ).expand_kwargs(plan(found))
    # Without the last one a run would be green although a gate has failed.
    gate >> [syncs, EmptyOperator(task_id="all_sources_open")]


makini_incremental_sync()
