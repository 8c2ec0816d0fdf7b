"""From a change at Makini to a landed record: webhook, receiver, inbox, triggerer, scheduler, task."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from airflow_home import AirflowHome
from landing import Landing, truth
from receiving import ReceiverProcess
from standalone import Standalone, eventually, free_ports

from makini_provider.sandbox import Sandbox, WebhookSettings

pytestmark = [pytest.mark.airflow, pytest.mark.scheduler]

TOKEN = "tok-under-webhooks-0042"
SECRET = "wh-secret-0042"
DAG = "makini_webhook_events"
ENOUGH = 60.0
"""Seconds from a change to its record that no machine should need."""


@dataclass(frozen=True)
class Live:
    sandbox: Sandbox
    landing: Landing
    airflow: Standalone
    home: AirflowHome

    def wait_for_truth(self, resource: str) -> float:
        """Seconds until what has landed is what the API has."""
        began = time.monotonic()
        eventually(
            f"the landing of {resource}",
            lambda: self.landing.records(resource) == truth(self.sandbox, resource),
            self.airflow.log,
        )
        return time.monotonic() - began


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """After the initial sync; the incremental sync stays paused, so that webhooks alone bring changes."""
    folder = tmp_path_factory.mktemp("live")
    landing = Landing(folder / "landing")
    home = AirflowHome(tmp_path_factory.mktemp("live-airflow"))
    (port,) = free_ports(1)
    with ExitStack() as ending:
        sandbox = ending.enter_context(Sandbox(token=TOKEN, records=60))
        extra = json.dumps({"sources": ["makini_default"], "domains": ["eam"]})
        settings = {
            "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(
                {"conn_type": "makini", "host": sandbox.url, "password": TOKEN}
            ),
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps(
                {"conn_type": "generic", "password": SECRET, "extra": extra}
            ),
            "MAKINI_DESTINATION": landing.uri,
            "MAKINI_RESOURCES": "eam/assets,eam/sites",
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_INBOX": f"sqlite:///{folder}/inbox.db",
            # Once a year: after a first run, whatever happens was woken up by the triggerer.
            "MAKINI_WEBHOOK_SCHEDULE": "0 0 1 1 *",
        }
        receiver = ReceiverProcess(home.environment | settings, port, folder / "receiver.log")
        ending.callback(receiver.kill)
        airflow = Standalone(home, settings, wanted=["makini_initial_sync", DAG])
        ending.callback(airflow.close)
        receiver.start()
        sandbox.webhooks.configure(
            WebhookSettings(url=receiver.url("plant"), secret=SECRET, first_retry=0.5, duplicates=0.5)
        )
        eventually("the start", airflow.is_up, airflow.log)
        airflow.unpause(DAG)
        airflow.unpause("makini_initial_sync")
        eventually("the initial sync", lambda: airflow.finished("makini_initial_sync"), airflow.log)
        eventually("the first run", lambda: airflow.finished(DAG), airflow.log)
        yield Live(sandbox, landing, airflow, home)


def test_a_change_lands_by_itself_within_seconds(live: Live) -> None:
    changes = live.sandbox.store.change(updates=3, inserts=2, resources=["eam/assets"])
    assert len(changes["eam/assets"]["inserted"]) == 2
    seconds = live.wait_for_truth("eam/assets")
    print(f"from the change to the landed records: {seconds:.1f} s")
    assert seconds < ENOUGH


def test_the_next_one_wakes_it_up_again(live: Live) -> None:
    live.sandbox.store.change(updates=1, resources=["eam/sites"])
    assert live.wait_for_truth("eam/sites") < ENOUGH


def test_every_further_run_was_woken_up_by_the_triggerer(live: Live) -> None:
    rows = live.home.rows("SELECT run_type FROM dag_run WHERE dag_id = ? ORDER BY id", DAG)
    first, *others = [run_type for (run_type,) in rows]
    assert first == "scheduled"
    assert set(others) == {"asset_triggered"}
    assert len(others) <= 5, "many events, few wake-ups"
