"""The health checks: each source on its own, and somebody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import DagRunner, Run
from landing import Landing

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.operators.planning import DagSettings
from makini_provider.sandbox import Sandbox, make_token

pytestmark = pytest.mark.airflow

NAMES = ("alpha", "beta")


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    with Sandbox(seed=5, token="tok-alpha-4711", records=30) as alpha, Sandbox(seed=6, records=30) as beta:
        yield {"alpha": alpha, "beta": beta}


@pytest.fixture
def environment(sandboxes: dict[str, Sandbox], tmp_path: Path, runner: DagRunner) -> dict[str, str]:
    return {
        "MAKINI_CONN_IDS": ",".join(NAMES),
        "MAKINI_RESOURCES": "eam/sites",
        "MAKINI_DESTINATION": Landing(tmp_path / "landing").uri,
        "MAKINI_NOTIFIER": "alerts_of_a_user.makini",
        "MAKINI_TOLD": str(tmp_path / "told"),
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(
                {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
            )
            for name, sandbox in sandboxes.items()
        },
    }


def told(environment: dict[str, str]) -> list[dict[str, Any]]:
    path = Path(environment["MAKINI_TOLD"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(run: Run) -> dict[str, dict[str | None, str]]:
    found: dict[str, dict[str | None, str]] = {}
    for task in run.tasks:
        found.setdefault(task.task_id, {})[task.label] = task.state
    return found


def test_sources_that_are_well_tell_nobody(runner: DagRunner, environment: dict[str, str]) -> None:
    assert runner.run("makini_initial_sync", environment).state == "success"
    run = runner.run("makini_connection_health", environment)
    assert run.state == "success"
    assert states(run)["access"] == states(run)["watermarks"] == {"alpha": "success", "beta": "success"}
    assert told(environment) == []


def test_a_dead_source_fails_on_its_own_and_its_cause_and_its_date_are_told(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    assert runner.run("makini_initial_sync", environment).state == "success"
    ended = (datetime.now(UTC) - timedelta(hours=5)).replace(microsecond=0)
    fields = json.loads(environment["AIRFLOW_CONN_BETA"])
    token, sandboxes["beta"].token = sandboxes["beta"].token, make_token(exp=int(ended.timestamp()))
    fields["password"] = sandboxes["beta"].token
    try:
        run = runner.run("makini_connection_health", environment | {"AIRFLOW_CONN_BETA": json.dumps(fields)})
    finally:
        sandboxes["beta"].token = token
    assert run.state == "failed"
    assert states(run)["access"] == {"alpha": "success", "beta": "failed"}
    # Why its watermark stands still is known.
    assert states(run)["watermarks"] == {"alpha": "success", "beta": "skipped"}
    (one,) = told(environment)
    assert (one["task"], one["cause"], one["since"]) == ("access", "token_expired", ended.isoformat())
    assert one["text"].startswith("beta: the token has expired, 5 hours ago")
    assert "You: get a new token" in one["text"]


def test_each_source_is_told_of_with_its_own_words(runner: DagRunner, environment: dict[str, str]) -> None:
    wrong = {"conn_type": "makini", "host": "http://makini.example.com", "password": "tok-4711"}
    both = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(wrong) for name in NAMES}
    runner.run("makini_connection_health", environment | both)
    assert sorted(one["text"].split(":")[0] for one in told(environment)) == [
        "connection 'alpha'",
        "connection 'beta'",
    ]


def test_a_watermark_that_stands_still_fails_on_its_own_and_is_told(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    stands = datetime.now(UTC) - timedelta(days=3)
    sandboxes["beta"].store.set_integration(sync_status="done", sync_updated_at=stands.isoformat())
    assert runner.run("makini_initial_sync", environment).state == "success"
    run = runner.run("makini_connection_health", environment)
    assert run.state == "failed"
    assert states(run)["access"] == {"alpha": "success", "beta": "success"}
    assert states(run)["watermarks"] == {"alpha": "success", "beta": "failed"}
    (one,) = told(environment)
    assert one["text"].splitlines()[0] == "beta: 1 of 1 streams have not got on for 26 hours."
    assert f"everything before {stands:%Y-%m-%d %H:%M} UTC is there, which is 3 days ago" in one["text"]


def test_a_customer_whom_the_syncs_leave_out_for_a_fault_is_checked_all_the_same(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    first, second = list(sandboxes["beta"].tenants.connections)[:2]
    authority = sandboxes["beta"].authority
    fields = json.loads(environment["AIRFLOW_CONN_BETA"])
    fields |= {"login": authority.client_id, "password": authority.client_secret}
    environment |= {"AIRFLOW_CONN_BETA": json.dumps(fields), "MAKINI_CONN_IDS": "beta"}
    sandboxes["beta"].tenants.set(second, {"status": "reauthorization_required"})
    try:
        syncs = runner.run("makini_initial_sync", environment)
        health = runner.run("makini_connection_health", environment)
    finally:
        sandboxes["beta"].tenants.set(second, {"status": "connected"})
    assert f"beta/{first}" in states(syncs)["gate"]
    assert f"beta/{second}" not in states(syncs)["gate"]
    assert {f"beta/{first}", f"beta/{second}"} <= set(states(health)["access"])


def test_where_nothing_has_landed_there_is_nothing_to_be_late(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    run = runner.run("makini_connection_health", environment)
    assert run.state == "success"
    assert states(run)["watermarks"] == {"alpha": "skipped", "beta": "skipped"}


@pytest.mark.parametrize("path", ["nowhere.at_all", "makini", "json.nothing", "builtins.Exception", "os.sep"])
def test_a_notifier_that_can_not_be_called_is_an_import_error_of_the_dag(path: str) -> None:
    settings = DagSettings.from_environment({"MAKINI_NOTIFIER": path})
    with pytest.raises(MakiniConfigurationError, match="MAKINI_NOTIFIER"):
        settings.load_notifiers()


def test_several_notifiers_can_be_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[str] = []
    second: list[str] = []
    monkeypatch.setattr("json.several", [first.append, second.append], raising=False)
    for notify in DagSettings.from_environment({"MAKINI_NOTIFIER": "json.several"}).load_notifiers():
        notify("context")
    assert first == second == ["context"]
