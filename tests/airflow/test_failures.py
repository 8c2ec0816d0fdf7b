"""What decides whether a failed task is tried again, and what its log says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import AirflowHome, DagRunner
from landing import Landing, since, truth, window

from makini_provider.api.errors import MakiniRateLimitError, MakiniServerError
from makini_provider.operators.retrying import retry_delay
from makini_provider.sandbox import Behaviour, Sandbox

pytestmark = pytest.mark.airflow

RESOURCE = "eam/work-orders"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=2, token="tok-failures-4711", records=60) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _well_behaved(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.behave()


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing")


@pytest.fixture
def environment(sandbox: Sandbox, landing: Landing) -> dict[str, str]:
    connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
    return {
        "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
        "MAKINI_DESTINATION": landing.uri,
        "MAKINI_RESOURCES": RESOURCE,
    }


def test_a_refused_token_fails_the_task_at_the_first_of_its_tries(
    runner: DagRunner, environment: dict[str, str], sandbox: Sandbox, landing: Landing
) -> None:
    token, sandbox.token = sandbox.token, "another"
    try:
        run = runner.run("prompt_sync", environment)
    finally:
        sandbox.token = token
    assert run.state == "failed"
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 1)]
    lines = run.last_words.splitlines()
    assert lines[0] == (
        "makini_default: the API does not accept the token: it is invalid, or it was revoked."
    )
    assert lines[1] == "What to do:"
    assert "code AUTHENTICATION_FAILED" in run.last_words
    assert lines[-1].startswith("Request IDs, for Makini's support: req-")
    # Said once, and not once more for each exception in a chain.
    assert run.output.count(lines[0]) == 1
    assert not landing.files(RESOURCE)


@pytest.mark.parametrize(("reason", "words"), [("expired", "has expired"), ("revoked", "was revoked")])
def test_a_token_that_ends_in_the_middle_of_a_read_stops_it_and_nothing_half_is_visible(
    runner: DagRunner,
    environment: dict[str, str],
    sandbox: Sandbox,
    landing: Landing,
    reason: Any,
    words: str,
) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_MAKINI_DEFAULT"]) | {"extra": {"page_size": 5}}
    environment = environment | {"AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection)}
    sandbox.forget_requests()
    sandbox.behave(Behaviour(refusal=reason, refusal_after=8))
    run = runner.run("makini_initial_sync", environment)
    (task,) = run.syncs
    assert (task.state, task.try_number) == ("failed", 1)
    assert words in run.last_words.splitlines()[0]
    pages = [request for request in sandbox.requests if request["path"] == f"/api/{RESOURCE}"]
    assert len(pages) > 3
    assert not landing.files(RESOURCE)
    assert not list((landing.stream(RESOURCE) / "_commits").glob("*.json"))
    # Once the token is mended, the next run brings all of it.
    sandbox.behave()
    run = runner.run("makini_initial_sync", environment)
    start, _ = window(run.syncs[0].receipt)
    assert landing.records(RESOURCE) == since(RESOURCE, truth(sandbox, RESOURCE), start)


def test_a_server_error_is_retried_and_explained(
    runner: DagRunner, environment: dict[str, str], sandbox: Sandbox, landing: Landing
) -> None:
    sandbox.behave(Behaviour(fault_sequence=("", "500", "", "", "503")))
    run = runner.run("prompt_sync", environment)
    assert run.state == "success"
    assert [task.try_number for task in run.tasks] == [3]
    assert "(HTTP 500, code INTERNAL_ERROR, request ID req-" in run.output
    assert "(HTTP 503, code SERVICE_UNAVAILABLE, request ID req-" in run.output
    assert "give Makini's support the request ID." in run.output
    start, _ = window(run.tasks[0].receipt)
    assert landing.records(RESOURCE) == since(RESOURCE, truth(sandbox, RESOURCE), start)


def test_a_server_error_that_stays_fails_the_task_after_all_tries(
    runner: DagRunner, environment: dict[str, str], sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(fault_rate=1.0, faults=("500",)))
    run = runner.run("prompt_sync", environment)
    assert run.state == "failed"
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 3)]


def test_a_connection_that_is_refused_is_retried(runner: DagRunner, environment: dict[str, str]) -> None:
    fields = {"conn_type": "makini", "host": "http://127.0.0.1:9", "password": "tok-failures-4711"}
    run = runner.run("prompt_sync", environment | {"AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(fields)})
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 3)]
    assert "GET /api/integrations/current on 127.0.0.1:9: no connection" in run.output


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": None}, ["'makini_default'", "password"]),
        ({"host": "http://makini.example.com"}, ["http", "allow_http"]),
        ({"extra": {"page_size": 0}}, ["page_size", "0"]),
        ({"conn_type": "http"}, ["'makini_default'", "'http'", "makini"]),
    ],
)
def test_an_unusable_connection_fails_the_task_at_once_and_says_why(
    runner: DagRunner, environment: dict[str, str], fields: dict[str, object], words: list[str]
) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_MAKINI_DEFAULT"]) | fields
    run = runner.run("prompt_sync", environment | {"AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection)})
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 1)]
    message = run.failure
    assert all(word in message for word in words)


def test_a_mapped_argument_that_is_unusable_fails_the_task_at_once(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    run = runner.run("mapped_sync", environment)
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 1)]
    assert "eam/workorders" in run.output


def test_a_destination_that_cannot_be_written_fails_the_task_at_once(
    runner: DagRunner, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    run = runner.run("prompt_sync", environment | {"MAKINI_DESTINATION": f"file://{tmp_path}/a-file/below"})
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 1)]
    message = run.failure
    assert f"{tmp_path}/a-file/below" in message


def test_a_commit_that_does_not_parse_fails_the_task_and_is_left_alone(
    runner: DagRunner, environment: dict[str, str], landing: Landing
) -> None:
    assert runner.run("makini_initial_sync", environment).state == "success"
    (commit,) = (landing.stream(RESOURCE) / "_commits").glob("*.json")
    commit.write_bytes(commit.read_bytes()[:100])
    before = sorted(landing.folder.rglob("*"))
    run = runner.run("makini_incremental_sync", environment)
    assert [(task.state, task.try_number) for task in run.syncs] == [("failed", 1)]
    assert f"{commit} can't be read" in run.output
    assert "move it away" in run.output
    assert sorted(landing.folder.rglob("*")) == before
    assert commit.stat().st_size == 100


# The wait that a server asks for


def test_a_wait_that_the_server_asked_for_is_found_in_the_causes() -> None:
    limited = MakiniRateLimitError("slow down", retry_after=7)
    wrapped = RuntimeError("it failed")
    wrapped.__cause__ = limited
    assert retry_delay(limited) == retry_delay(wrapped) == timedelta(seconds=7)
    assert retry_delay(MakiniServerError("broken")) is None


def test_a_wait_is_an_hour_at_most() -> None:
    assert retry_delay(MakiniRateLimitError("slow down", retry_after=10**6)) == timedelta(hours=1)


def test_the_command_says_by_its_exit_code_that_the_run_failed(
    airflow_home: AirflowHome, environment: dict[str, str]
) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_MAKINI_DEFAULT"]) | {"password": "tok-wrong-4711"}
    failed = airflow_home.airflow(
        "dags",
        "test",
        "makini_initial_sync",
        **environment | {"AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection)},
    )
    assert failed.code == 1
    assert "the API does not accept the token" in failed.output
    assert "tok-wrong-4711" not in failed.output
