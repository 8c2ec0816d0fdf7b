"""Checks every Makini connection, and how old what has landed is; tells somebody where something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronTriggerTimetable, dag, task

from makini_provider.operators.gate import MakiniGateOperator
from makini_provider.operators.health import MakiniWatermarkCheckOperator
from makini_provider.operators.planning import DagSettings, plan_sources
from makini_provider.operators.webhooks import MakiniWebhookCheckOperator
from makini_provider.webhooks.settings import WebhookSettings

SETTINGS = DagSettings.from_environment()

# Who is told. MAKINI_NOTIFIER names a notifier or a callback of yours by its import path; in a copy of this
# file it can stand here: [SlackNotifier(slack_conn_id="slack", channel="#data", text="{{ exception }}")].
NOTIFIERS = SETTINGS.load_notifiers()


@dag(
    dag_id="makini_connection_health",
    description="Makini: is there access to every source, and does its data get on?",
    schedule=CronTriggerTimetable(SETTINGS.health_schedule, timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["makini"],
    doc_md="""
### Makini: connection health

Two checks of each source, each a mapped task that fails on its own:

- `access` asks the API whether the source can be read. Where not, its log ends with the **diagnosis**: what
  it comes from, since when, who can do what about it, and the request IDs for Makini's support.
- `watermarks` looks at `MAKINI_DESTINATION`: a stream whose watermark is older than `MAKINI_STALE_HOURS` has
  not got on, whatever the reason. It is skipped where there is no access, since then the reason is known.

Where there are endpoints for webhooks, `webhooks` fails when they do not come in or are not worked off.

A failed task calls what `MAKINI_NOTIFIER` names.
""",
)
def makini_connection_health() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=1), on_failure_callback=NOTIFIERS)
    def sources(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        from makini_provider.operators.customers import watched_sources_of

        # The syncs leave out a customer whose access has died: here it must fail, so that somebody knows.
        return plan_sources(SETTINGS, params or {}, watched_sources_of)

    found = sources()
    access = MakiniGateOperator.partial(
        task_id="access",
        map_index_template="{{ task.source }}",
        retries=2,
        retry_delay=timedelta(minutes=1),
        execution_timeout=timedelta(minutes=15),
        on_failure_callback=NOTIFIERS,
    ).expand_kwargs(found)
    watermarks = MakiniWatermarkCheckOperator.partial(
        task_id="watermarks",
        destination=SETTINGS.destination,
        stale_after=SETTINGS.stale_after,
        gate_task_id="access",
        trigger_rule="all_done",
        map_index_template="{{ task.source }}",
        on_failure_callback=NOTIFIERS,
    ).expand_kwargs(found)
    if WebhookSettings.from_environment().endpoints:
        MakiniWebhookCheckOperator(
            task_id="webhooks",
            destination=SETTINGS.destination,
            makini_conn_ids=SETTINGS.conn_ids,
            oldest=SETTINGS.webhook_oldest,
            dead=SETTINGS.webhook_dead,
            rejected=SETTINGS.webhook_rejected,
            silent=SETTINGS.webhook_silent,
            retries=2,
            retry_delay=timedelta(minutes=1),
            on_failure_callback=NOTIFIERS,
        )
    # Without the last one a run would be green although a source has no access.
    access >> [watermarks, EmptyOperator(task_id="all_sources_open")]


makini_connection_health()
