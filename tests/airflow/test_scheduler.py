"""The example DAGs under a real scheduler, on a fresh database: initial, then incremental, by themselves."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from airflow_home import BIN, AirflowHome, Run, kill_group
from landing import Landing, since, truth, window

from makini_provider.sandbox import Sandbox

pytestmark = [pytest.mark.airflow, pytest.mark.scheduler]

TOKEN = "tok-under-a-scheduler-4711"
RESOURCES = ["eam/sites", "eam/uom", "eam/work-orders"]
PATIENCE = 150.0
T = TypeVar("T")


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def eventually(what: str, look: Callable[[], T | None], log: Path) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen in {PATIENCE:.0f} s:\n{log.read_text()[-20_000:]}")


class Standalone:
    """``airflow standalone``: scheduler, API server, DAG processor and triggerer."""

    def __init__(self, home: AirflowHome, environment: dict[str, str]) -> None:
        self.home = home
        self.log = home.folder / "standalone.log"
        api, scheduler_log, triggerer_log = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self._token: str | None = None
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(BIN / "airflow"), "standalone"],
                cwd=home.folder,
                env={
                    **home.environment,
                    **environment,
                    "AIRFLOW__API__HOST": "127.0.0.1",
                    "AIRFLOW__API__PORT": str(api),
                    "AIRFLOW__API__BASE_URL": self.url,
                    "AIRFLOW__API__WORKERS": "1",
                    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
                    "AIRFLOW__CORE__PARALLELISM": "2",
                    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(scheduler_log),
                    "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggerer_log),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def close(self) -> None:
        kill_group(self._process)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = Request(f"{self.url}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urlopen(request, None if body is None else json.dumps(body).encode(), timeout=30) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-20_000:]
        try:
            health = self.ask("GET", "/api/v2/monitor/health")
            self._token = self._token or self.ask("GET", "/auth/token")["access_token"]
            known = self.ask("GET", "/api/v2/dags")["dags"]
        except (URLError, TimeoutError, ConnectionError):
            return False
        names = {dag["dag_id"] for dag in known}
        return (
            health["scheduler"]["status"] == "healthy"
            and {
                "makini_initial_sync",
                "makini_incremental_sync",
            }
            <= names
        )

    def finished(self, dag_id: str, *, after: str = "") -> tuple[str, Run] | None:
        """The oldest run later than another one that has ended."""
        rows = self.home.rows(
            "SELECT run_id, state, run_type FROM dag_run WHERE dag_id = ? AND run_id > ? "
            "AND state IN ('success', 'failed') ORDER BY run_id LIMIT 1",
            dag_id,
            after,
        )
        if not rows:
            return None
        run_id, state, run_type = rows[0]
        assert run_type == "scheduled"
        return run_id, Run(state, self.home.tasks(dag_id, run_id), "")


@dataclass(frozen=True)
class Story:
    sandbox: Sandbox
    landing: Landing
    initial: Run
    incremental: Run
    cleared: Run
    records: dict[str, list[dict[str, dict[str, Any]]]]
    home: AirflowHome


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Both DAGs unpaused on an empty installation; one incremental run cleared once it is done."""
    landing = Landing(tmp_path_factory.mktemp("landing"))
    home = AirflowHome(tmp_path_factory.mktemp("scheduled"))
    with ExitStack() as ending:
        sandbox = ending.enter_context(Sandbox(seed=12, token=TOKEN, records=80))
        airflow = Standalone(
            home,
            {
                "MAKINI_DESTINATION": landing.uri,
                "MAKINI_RESOURCES": ",".join(RESOURCES),
                "MAKINI_SCHEDULE": "* * * * *",
            },
        )
        ending.callback(airflow.close)
        eventually("the start", airflow.is_up, airflow.log)
        # As a person does it in the UI: the token goes into the metadata database, encrypted.
        connection = {"connection_id": "makini_default", "conn_type": "makini"}
        airflow.ask(
            "POST", "/api/v2/connections", connection | {"host": sandbox.url, "password": sandbox.token}
        )

        def unpause(dag_id: str) -> None:
            airflow.ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

        def ended(dag_id: str, after: str = "") -> tuple[str, Run]:
            return eventually(
                f"the end of {dag_id}", lambda: airflow.finished(dag_id, after=after), airflow.log
            )

        unpause("makini_initial_sync")
        _, initial = ended("makini_initial_sync")
        sandbox.store.change(updates=10, inserts=3, resources=["eam/work-orders"])
        unpause("makini_incremental_sync")
        run_id, incremental = ended("makini_incremental_sync")
        # The first run may have been due before the changes were made: the next one brings them.
        changed_by = sandbox.store.integration["sync_updated_at"]
        last, brought = run_id, incremental
        while window(brought.receipts["eam/work-orders"])[1].isoformat() < changed_by:
            last, brought = ended("makini_incremental_sync", last)
        airflow.ask("PATCH", "/api/v2/dags/makini_incremental_sync", {"is_paused": True})
        before = {resource: landing.records(resource) for resource in RESOURCES}
        airflow.ask(
            "POST",
            "/api/v2/dags/makini_incremental_sync/clearTaskInstances",
            {"dag_run_id": run_id, "dry_run": False, "only_failed": False},
        )
        # A paused DAG runs what was cleared.
        airflow.ask("PATCH", "/api/v2/dags/makini_incremental_sync", {"is_paused": False})

        def run_again() -> Run | None:
            tasks = home.tasks("makini_incremental_sync", run_id)
            done = all(task.try_number == 2 and task.state == "success" for task in tasks)
            return Run("success", tasks, "") if done else None

        cleared = eventually("the second try", run_again, airflow.log)
        after = {resource: landing.records(resource) for resource in RESOURCES}
        records = {resource: [before[resource], after[resource]] for resource in RESOURCES}
        yield Story(sandbox, landing, initial, incremental, cleared, records, home)


LABELS = [f"makini_default · {resource}" for resource in RESOURCES]


def test_the_initial_sync_runs_by_itself_once_it_is_unpaused(story: Story) -> None:
    assert story.initial.state == "success"
    assert [(task.label, task.state) for task in story.initial.syncs] == [
        (label, "success") for label in LABELS
    ]


def test_the_incremental_sync_runs_on_its_schedule_and_skips_nothing(story: Story) -> None:
    assert story.incremental.state == "success"
    assert [(task.label, task.state) for task in story.incremental.syncs] == [
        (label, "success") for label in LABELS
    ]


def test_what_landed_is_what_the_api_has(story: Story) -> None:
    start, _ = window(story.initial.receipts["eam/work-orders"])
    for resource in RESOURCES:
        before_clearing, _ = story.records[resource]
        expected = truth(story.sandbox, resource)
        assert before_clearing == (
            since(resource, expected, start) if resource == "eam/work-orders" else expected
        )


def test_an_incremental_run_that_is_cleared_reads_its_interval_again_and_changes_nothing(
    story: Story,
) -> None:
    first = window(story.incremental.receipts["eam/work-orders"])
    again = window(story.cleared.receipts["eam/work-orders"])
    assert again[1] == first[1]
    for before, after in story.records.values():
        assert before == after


def test_the_token_is_in_no_log_and_no_row(story: Story) -> None:
    found = [
        path
        for path in story.home.folder.rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert found == []
    logs = [path.read_text() for path in (story.home.folder / "airflow" / "logs").rglob("*.log")]
    assert any("makini_default/eam/work-orders: committed" in log for log in logs)
