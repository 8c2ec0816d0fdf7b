"""Each way in runs the example DAGs: one application with several customers, and a pair that rotates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_home import DagRunner
from landing import Landing

from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

FIRST, SECOND, THIRD, DEAD = ("09000207611898", "09000207611899", "09000207611900", "09000207611901")
RESOURCES = ["eam/sites", "eam/work-orders"]
CLIENT_SECRET = "cs-that-nobody-may-see-4713"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(records=60) as sandbox:
        sandbox.authority.client_secret = CLIENT_SECRET
        yield sandbox


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing")


def settings(sandbox: Sandbox, landing: Landing, **extra: object) -> dict[str, str]:
    connection = {
        "conn_type": "makini",
        "host": sandbox.url,
        "login": sandbox.authority.client_id,
        "password": CLIENT_SECRET,
        "extra": extra,
    }
    return {
        "AIRFLOW_CONN_APP": json.dumps(connection),
        "MAKINI_CONN_IDS": "app",
        "MAKINI_RESOURCES": ",".join(RESOURCES),
        "MAKINI_DESTINATION": landing.uri,
    }


def landed(sandbox: Sandbox, landing: Landing, customer: str) -> bool:
    truth = {record["key"]: dict(record) for record in sandbox.tenants.store(customer).records("eam/sites")}
    return bool(truth) and landing.records("eam/sites", "app", customer) == truth


def test_one_application_brings_the_records_of_all_its_customers(
    runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    environment = settings(sandbox, landing)
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "success"
    assert [task.label for task in run.syncs] == [
        f"app/{key} · {resource}" for key in (FIRST, SECOND, THIRD) for resource in RESOURCES
    ]
    assert all(landed(sandbox, landing, key) for key in (FIRST, SECOND, THIRD))
    assert f"{DEAD}, Old Quarry Cement, is left out: its status is 'disconnected'" in run.output
    assert CLIENT_SECRET not in run.output
    assert "eyJ" not in run.output

    again = runner.run("makini_incremental_sync", environment, conf={"connections": [f"app/{SECOND}"]})
    assert [task.label for task in again.syncs] == [f"app/{SECOND} · {resource}" for resource in RESOURCES]
    assert {task.state for task in again.syncs} == {"success"}


def test_a_connection_that_is_refused_fails_by_itself(
    runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    environment = settings(sandbox, landing)
    wrong = json.loads(environment["AIRFLOW_CONN_APP"]) | {"password": "another"}
    environment |= {"AIRFLOW_CONN_WRONG": json.dumps(wrong), "MAKINI_CONN_IDS": f"wrong,app/{SECOND}"}
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "failed"
    states = {task.label: task.state for task in run.syncs}
    assert states == {
        "wrong · eam/sites": "failed",
        "wrong · eam/work-orders": "failed",
        f"app/{SECOND} · eam/sites": "success",
        f"app/{SECOND} · eam/work-orders": "success",
    }
    assert "client authentication failed" in run.failure
