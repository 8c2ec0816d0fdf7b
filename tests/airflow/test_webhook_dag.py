"""The DAG of webhooks, run as ``airflow dags test`` does: what becomes of what waits in the inbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import DagRunner, Run
from landing import Landing, truth

from makini_provider.sandbox import Sandbox
from makini_provider.webhooks.inbox import Inbox, Received

pytestmark = pytest.mark.airflow

DAG = "makini_webhook_events"
TOKEN = "tok-of-the-webhook-dag-0815"
SECRET = "wh-secret-4711"


class Plant:
    """A sandbox, a landing and an inbox between them."""

    def __init__(self, folder: Path, runner: DagRunner, sandbox: Sandbox) -> None:
        self.landing = Landing(folder / "landing")
        self.sandbox = sandbox
        self.inbox = Inbox(f"sqlite:///{folder}/inbox.db")
        self._runner = runner
        extra = json.dumps({"sources": ["makini_default"], "domains": ["eam"]})
        self.environment = {
            "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(
                {"conn_type": "makini", "host": sandbox.url, "password": TOKEN}
            ),
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps(
                {"conn_type": "generic", "password": SECRET, "extra": extra}
            ),
            "MAKINI_DESTINATION": self.landing.uri,
            "MAKINI_RESOURCES": "eam/assets,eam/sites",
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_LINGER_SECONDS": "0.01",
            "MAKINI_WEBHOOK_INBOX": f"sqlite:///{folder}/inbox.db",
        }

    def put(self, **content: Any) -> None:
        payload = json.dumps(content).encode()
        received = Received(
            endpoint="plant", payload=payload, type=content.get("event"), received_at=datetime.now(UTC)
        )
        self.inbox.put(received)

    def run(self, dag_id: str = DAG) -> Run:
        return self._runner.run(dag_id, self.environment)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, runner: DagRunner) -> Iterator[Plant]:
    """After the initial sync."""
    with Sandbox(token=TOKEN, records=60) as sandbox:
        plant = Plant(tmp_path_factory.mktemp("webhooks"), runner, sandbox)
        assert plant.run("makini_initial_sync").state == "success"
        yield plant
        plant.inbox.close()


def task(run: Run, task_id: str) -> Any:
    (found,) = [task for task in run.tasks if task.task_id == task_id]
    return found


def test_what_webhooks_tell_of_lands_and_the_watermark_stays(plant: Plant) -> None:
    watermark = plant.landing.state("eam/assets").watermark
    changes = plant.sandbox.store.change(updates=5, inserts=2, hard_deletes=1, resources=["eam/assets"])
    keys = changes["eam/assets"]
    for kind, name in (("updated", "updated"), ("inserted", "inserted"), ("hard_deleted", "updated")):
        plant.put(event=f"assets.{name}", body=keys[kind])
    alive = {*keys["updated"], *keys["inserted"]} - {*keys["hard_deleted"]}
    plant.put(event="sites.updated", body=["S-unheard-of"])
    run = plant.run()
    assert run.state == "success", run.output[-5_000:]
    receipt = task(run, "drain").receipt
    assert receipt["landed"] == {"makini_default/eam/assets": len(alive)}
    assert receipt["tombstones"] == {"makini_default/eam/assets": 1, "makini_default/eam/sites": 1}
    assert receipt["done"] == 4
    assert 0 <= receipt["seconds_to_land"]["longest"] < 60
    assert plant.landing.records("eam/assets") == truth(plant.sandbox, "eam/assets")
    assert plant.landing.state("eam/assets").watermark == watermark
    assert plant.inbox.counts().done == 4
    assert task(run, "sync_now").state == "skipped"


def test_a_completed_sync_of_makini_triggers_one_of_ours(plant: Plant) -> None:
    for number in range(3):
        plant.put(event="sync.completed", number=number)
    run = plant.run()
    assert run.state == "success", run.output[-5_000:]
    assert task(run, "drain").receipt["sync_completed"] == ["makini_default"]
    assert task(run, "plan_syncs").receipt[0]["conf"] == {"connections": ["makini_default"]}
    assert task(run, "sync_now").state == "success"


def test_dead_letters_and_errors_of_makini_fail_the_run_visibly(plant: Plant) -> None:
    assert task(plant.run("makini_connection_health"), "webhooks").state == "success"
    plant.put(event="assets.updated", body=["../x"])
    plant.put(event="system.error", details="the disk is full")
    run = plant.run()
    assert run.state == "failed"
    assert task(run, "drain").state == "success"
    assert task(run, "tell").state == "failed"
    assert "1 webhooks were given up" in run.output
    assert "the disk is full" in run.output
    health = plant.run("makini_connection_health")
    assert task(health, "webhooks").state == "failed"
    assert "1 webhooks were given up: 'python -m makini_provider inbox dead' says why" in health.output
    plant.inbox.forget(timedelta(0), states=["dead"])


def test_a_connection_that_has_changed_is_checked(plant: Plant) -> None:
    plant.put(event="connection.requires_authentication", connection_id="unheard of")
    run = plant.run()
    assert run.state == "success", run.output[-5_000:]
    assert task(run, "check_now").state == "success"
    assert task(run, "sync_now").state == "skipped"


def test_nothing_waits(plant: Plant) -> None:
    run = plant.run()
    assert run.state == "success"
    assert task(run, "drain").receipt["done"] == 0


def test_no_secret_is_in_what_it_prints(plant: Plant) -> None:
    plant.put(event="assets.updated", body=["nothing"])
    output = plant.run().output
    assert TOKEN not in output
    assert SECRET not in output
