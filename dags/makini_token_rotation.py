"""Keeps the tokens of refresh-token connections from running out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag

from makini_provider.operators.planning import DagSettings
from makini_provider.operators.rotation import MakiniTokenRotationOperator

SETTINGS = DagSettings.from_environment()


@dag(
    dag_id="makini_token_rotation",
    description="Makini: replaces pairs of tokens ahead of time",
    schedule=CronTriggerTimetable(SETTINGS.rotation_schedule, timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # One run at a time: each refresh token is good once.
    max_active_runs=1,
    tags=["makini"],
    doc_md="""
### Makini: token rotation

Each connection of `MAKINI_CONN_IDS` that gets in by a **refresh token** is one mapped task. It replaces the
pair of tokens in the token store once half of the access token's life is over (15 of 30 days). So no sync has
to, and days of failure cost nothing. Connections with another way in are skipped.

Each task returns how the pair stands (XCom): age and end, never a token. A task that **fails** says what to
do: mostly, to connect the system to Makini again and to put the new refresh token into the connection.
""",
)
def makini_token_rotation() -> None:
    MakiniTokenRotationOperator.partial(
        task_id="rotate",
        map_index_template="{{ task.makini_conn_id }}",
        retries=3,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(minutes=30),
        # One after the other: where something is wrong with a store, it shows before all pairs are spent.
        max_active_tis_per_dagrun=1,
        **SETTINGS.task_arguments,
    ).expand(makini_conn_id=list(dict.fromkeys(SETTINGS.conn_ids)))


makini_token_rotation()
