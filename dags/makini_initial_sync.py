"""Brings the history of Makini's records, once: every connection, every resource."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, task

from makini_provider.operators.gate import MakiniGateOperator
from makini_provider.operators.planning import DagSettings, plan_sources, plan_streams, run_form
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
- A connection that is refused (a token that has run out, say) fails at its `gate`, with the reason and what
  to do; its syncs are **skipped**, all others run.

Each sync returns a *receipt* (XCom): counts, files, watermark, warnings.
""",
)
def makini_initial_sync() -> None:
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
    syncs = MakiniInitialSyncOperator.partial(
        task_id="sync",
        gate_task_id="gate",
        # Also after a gate that failed: its source's syncs are skipped with the reason, all others run.
        trigger_rule="all_done",
        destination=SETTINGS.destination,
        history=SETTINGS.history,
        map_index_template="{{ task.source }} · {{ task.resource }}",
        retries=3,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(minutes=30),
        execution_timeout=timedelta(hours=12),
        **SETTINGS.task_arguments,
    ).expand_kwargs(plan(found))
    # Without the last one a run would be green although a gate has failed.
    gate >> [syncs, EmptyOperator(task_id="all_sources_open")]


makini_initial_sync()
