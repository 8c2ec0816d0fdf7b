"""Each way in runs the example DAGs: one application with several customers, and a pair that rotates."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_home import AirflowHome, DagRunner
from landing import Landing

from makini_provider.sandbox import Behaviour, Sandbox

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
        "wrong · eam/sites": "skipped",
        "wrong · eam/work-orders": "skipped",
        f"app/{SECOND} · eam/sites": "success",
        f"app/{SECOND} · eam/work-orders": "success",
    }
    assert {task.label: task.state for task in run.tasks if task.task_id == "gate"} == {
        "wrong": "failed",
        f"app/{SECOND}": "success",
    }
    assert "client authentication failed" in run.failure


def test_a_refresh_token_is_used_once_and_what_follows_is_kept_in_a_variable(
    airflow_home: AirflowHome, runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    pair = sandbox.authority.pair(SECOND)
    seed = pair["refresh_token"]
    environment = settings(sandbox, landing, refresh_token=seed, token_store="variable://makini_app_tokens")

    run = runner.run("makini_initial_sync", environment)
    assert run.state == "success"
    assert [task.label for task in run.syncs] == [f"app · {resource}" for resource in RESOURCES]
    truth = {record["key"]: dict(record) for record in sandbox.tenants.store(SECOND).records("eam/sites")}
    assert landing.records("eam/sites", "app") == truth
    assert not sandbox.authority.knows_refresh_token(seed)
    ((value, encrypted),) = airflow_home.rows(
        "SELECT val, is_encrypted FROM variable WHERE key = ?", "makini_app_tokens"
    )
    assert encrypted
    assert "token" not in value

    rotation = runner.run("makini_token_rotation", environment)
    (report,) = (task.receipt for task in rotation.tasks)
    assert (report["conn_id"], report["token_store"]) == ("app", "variable:makini_app_tokens")
    assert (report["refreshed"], round(report["days_left"])) == (False, 30)
    kept = b"".join(path.read_bytes() for path in airflow_home.folder.rglob("*") if path.is_file())
    for secret in (seed, CLIENT_SECRET, *sandbox.authority.given_tokens):
        assert secret not in run.output + rotation.output
        assert secret.encode() not in kept


def test_a_pair_is_rotated_once_half_of_its_life_is_over(
    runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    sandbox.behave(Behaviour(pair_lifetime=4))
    seed = sandbox.authority.pair(SECOND)["refresh_token"]
    environment = settings(sandbox, landing, refresh_token=seed, token_store="variable://makini_old_tokens")
    for _ in range(2):
        rotation = runner.run("makini_token_rotation", environment)
        assert [task.receipt["refreshed"] for task in rotation.tasks] == [True]
        time.sleep(2)
    sandbox.behave()


def test_a_dead_pair_fails_visibly_with_what_to_do(
    airflow_home: AirflowHome, runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    environment = settings(
        sandbox, landing, refresh_token="rt-that-is-dead-4714", token_store="variable://makini_dead_tokens"
    )
    run = runner.run("makini_token_rotation", environment)
    assert run.state == "failed"
    assert "does not accept the refresh token in the connection's extra any more" in run.failure
    assert "Connect the system to Makini again" in run.failure
    assert "rt-that-is-dead" not in run.output
    assert {task.try_number for task in run.tasks} == {1}


def test_connections_with_another_way_in_are_not_rotated(
    runner: DagRunner, sandbox: Sandbox, landing: Landing
) -> None:
    environment = settings(sandbox, landing) | {"MAKINI_CONN_IDS": f"app,app/{SECOND}"}
    run = runner.run("makini_token_rotation", environment)
    assert {task.state for task in run.tasks} == {"skipped"}
