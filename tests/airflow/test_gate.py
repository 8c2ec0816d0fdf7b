"""One gate for each source and run: a dead source is found out once, and holds up no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from airflow_home import DagRunner, Run, Task
from landing import Landing, lists_asked, truth

from makini_provider.sandbox import Behaviour, Sandbox, make_token

pytestmark = pytest.mark.airflow

TOKENS = {"alpha": "tok-alpha-4711", "beta": "tok-beta-4711"}
RESOURCES = ["eam/sites", "eam/assets"]


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    with (
        Sandbox(seed=5, token=TOKENS["alpha"], records=40) as alpha,
        Sandbox(seed=6, token=TOKENS["beta"], records=40) as beta,
    ):
        yield {"alpha": alpha, "beta": beta}


@pytest.fixture(autouse=True)
def _well_behaved(sandboxes: dict[str, Sandbox]) -> Iterator[None]:
    for sandbox in sandboxes.values():
        sandbox.forget_requests()
    yield
    for name, sandbox in sandboxes.items():
        sandbox.behave()
        sandbox.store.set_integration(sync_status="done")
        sandbox.token = TOKENS[name]


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing")


@pytest.fixture
def environment(sandboxes: dict[str, Sandbox], landing: Landing) -> dict[str, str]:
    return {
        "MAKINI_CONN_IDS": "alpha,beta",
        "MAKINI_RESOURCES": ",".join(RESOURCES),
        "MAKINI_DESTINATION": landing.uri,
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(
                {"conn_type": "makini", "host": sandbox.url, "password": TOKENS[name]}
            )
            for name, sandbox in sandboxes.items()
        },
    }


def states(run: Run, task_id: str, conn_id: str) -> list[str]:
    return [task.state for task in tasks(run, task_id, conn_id)]


def tasks(run: Run, task_id: str, conn_id: str) -> list[Task]:
    return [task for task in run.tasks if task.task_id == task_id and (task.label or "").startswith(conn_id)]


def test_a_dead_source_fails_at_its_gate_and_its_syncs_are_skipped_while_others_go_on(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox], landing: Landing
) -> None:
    sandboxes["beta"].behave(Behaviour(refusal="reauthorization"))
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "failed"
    assert [(task.state, task.try_number) for task in tasks(run, "gate", "beta")] == [("failed", 1)]
    assert states(run, "sync", "beta") == ["skipped"] * len(RESOURCES)
    assert states(run, "gate", "alpha") == ["success"]
    assert states(run, "sync", "alpha") == ["success"] * len(RESOURCES)
    for resource in RESOURCES:
        assert landing.records(resource, "alpha") == truth(sandboxes["alpha"], resource)
    # Half a dozen requests, whatever the number of its syncs.
    assert len(sandboxes["beta"].requests) <= 8
    assert "beta: the connection must be authorized again" in run.last_words
    assert "Your customer: connect the system to Makini again" in run.last_words


def test_skipped_syncs_say_why(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    sandboxes["beta"].token = make_token(exp=1_700_000_000)
    connection = json.loads(environment["AIRFLOW_CONN_BETA"]) | {"password": sandboxes["beta"].token}
    run = runner.run("makini_initial_sync", environment | {"AIRFLOW_CONN_BETA": json.dumps(connection)})
    assert states(run, "sync", "beta") == ["skipped"] * len(RESOURCES)
    # At the gate, and in the log of each sync.
    assert run.output.count("beta: the token has expired") == 1 + len(RESOURCES)
    assert run.output.count("The task 'gate' of this run found that out") == len(RESOURCES)
    assert sandboxes["beta"].token not in run.output


def test_the_state_is_asked_once_for_all_syncs_of_a_source_and_before_the_first_page(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox], landing: Landing
) -> None:
    completed = sandboxes["alpha"].store.integration["sync_updated_at"]
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "success"
    for sandbox in sandboxes.values():
        paths = [request["path"] for request in sandbox.requests]
        assert paths.index("/api/integrations/current") == 0
        assert paths.count("/api/integrations/current") == 1
    state = landing.state("eam/assets", "alpha")
    assert state.watermark == datetime.fromisoformat(completed)


def test_a_platform_that_lets_makini_in_no_more_closes_the_gate(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    sandboxes["beta"].store.set_integration(sync_status="fail")
    run = runner.run("makini_initial_sync", environment)
    assert states(run, "gate", "beta") == ["failed"]
    assert states(run, "sync", "beta") == ["skipped"] * len(RESOURCES)
    assert "Makini can't log in to the connected system any more" in run.last_words
    assert not lists_asked(sandboxes["beta"])


def test_an_unusable_connection_closes_the_gate_with_what_is_wrong_with_it(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_BETA"]) | {"password": "two words"}
    run = runner.run("makini_initial_sync", environment | {"AIRFLOW_CONN_BETA": json.dumps(connection)})
    assert states(run, "gate", "beta") == ["failed"]
    assert states(run, "sync", "beta") == ["skipped"] * len(RESOURCES)
    assert states(run, "sync", "alpha") == ["success"] * len(RESOURCES)
    assert "it contains white space or a line break" in run.last_words


def test_a_state_that_is_not_told_closes_no_gate(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    state = "/api/integrations/current"
    sandboxes["alpha"].behave(Behaviour(sync_state_missing=True))
    sandboxes["beta"].behave(Behaviour(denied=(state,), denied_status=401, refusal_wording="plain"))
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "success"
    assert states(run, "sync", "alpha") == states(run, "sync", "beta") == ["success"] * len(RESOURCES)


def test_one_missing_permission_fails_its_sync_alone(
    runner: DagRunner, environment: dict[str, str], sandboxes: dict[str, Sandbox]
) -> None:
    sandboxes["beta"].behave(Behaviour(denied=("eam/assets",), denied_status=401, refusal_wording="plain"))
    run = runner.run("makini_initial_sync", environment)
    assert states(run, "gate", "beta") == ["success"]
    found = {task.label: (task.state, task.try_number) for task in tasks(run, "sync", "beta")}
    assert found == {
        "beta · eam/sites": ("success", 1),
        "beta · eam/assets": ("failed", 1),
    }
    assert "the token is good, and lacks the permission to read /api/eam/assets" in run.last_words


def test_a_plan_that_fails_starts_no_sync_and_fails_the_run(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    run = runner.run("makini_initial_sync", environment, conf={"resources": ["eam/nothing"]})
    assert run.state == "failed"
    assert [task.state for task in run.syncs] == ["upstream_failed"]
