"""Works off Makini's webhooks as soon as they are in the inbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, dag, task

from makini_provider.operators.planning import DagSettings
from makini_provider.operators.webhooks import MakiniWebhookOperator, fail_for_trouble, runs_for
from makini_provider.triggers.inbox import InboxTrigger

SETTINGS = DagSettings.from_environment()
NOTIFIERS = SETTINGS.load_notifiers()

INBOX = Asset(
    name="makini_webhook_inbox",
    uri="makini://webhooks/inbox",
    watchers=[AssetWatcher(name="makini_webhook_inbox", trigger=InboxTrigger())],
)


@dag(
    dag_id="makini_webhook_events",
    description="Makini: records that webhooks tell of, within seconds",
    # The triggerer wakes it up. The clock does too, in case a wake-up is lost.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(SETTINGS.webhook_schedule, timezone="UTC"), assets=[INBOX]
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["makini"],
    doc_md="""
### Makini: webhooks

Works off the inbox that the receiver fills: each key is asked for at the API, and what comes lands beside
what the syncs have brought. The watermark stays: `makini_incremental_sync` brings what webhooks missed.

- `drain` returns a *receipt* (XCom): counts by type, stream and reason, and the seconds until events landed.
- A failed event is tried again later, by itself. In the end it is a dead letter, and `tell` fails to say so.
- Makini has completed a sync: `sync_now` triggers `makini_incremental_sync` for its connections.
- The state of a connection has changed: `check_now` triggers `makini_connection_health`.
- What fails calls what `MAKINI_NOTIFIER` names.
""",
)
def makini_webhook_events() -> None:
    drain = MakiniWebhookOperator(
        task_id="drain",
        destination=SETTINGS.destination,
        makini_conn_ids=SETTINGS.conn_ids,
        linger=SETTINGS.webhook_linger,
        lease=SETTINGS.webhook_lease,
        retries=3,
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(hours=1),
        on_failure_callback=NOTIFIERS,
        **SETTINGS.task_arguments,
    )

    @task
    def plan_syncs(receipt: dict[str, Any]) -> list[dict[str, Any]]:
        return runs_for(receipt["sync_completed"], at=datetime.now(UTC))

    @task
    def plan_checks(receipt: dict[str, Any]) -> list[dict[str, Any]]:
        return runs_for(receipt["connections"], at=datetime.now(UTC))

    @task(on_failure_callback=NOTIFIERS)
    def tell(receipt: dict[str, Any]) -> None:
        fail_for_trouble(receipt)

    TriggerDagRunOperator.partial(
        task_id="sync_now", trigger_dag_id="makini_incremental_sync", skip_when_already_exists=True
    ).expand_kwargs(plan_syncs(drain.output))
    TriggerDagRunOperator.partial(
        task_id="check_now", trigger_dag_id="makini_connection_health", skip_when_already_exists=True
    ).expand_kwargs(plan_checks(drain.output))
    tell(drain.output)


makini_webhook_events()
