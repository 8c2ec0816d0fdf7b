"""A task that is killed in the middle: nothing half is visible, and the next try goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import BIN, HERE, AirflowHome, DagRunner, clean_environment, kill_group
from landing import Landing, asked_from, cursor, since, truth, window

from makini_provider.sandbox import Behaviour, Sandbox
from makini_provider.sync.windows import EARLIEST

pytestmark = pytest.mark.airflow

RESOURCE = "eam/work-orders"
PAGE = 15
SLOW = Behaviour(latency=0.1)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=6, token="tok-killed-4711", records=600, days=100) as sandbox:
        yield sandbox


def connection(sandbox: Sandbox, parallel: int) -> dict[str, str]:
    extra = {"page_size": PAGE, "max_parallel_requests": parallel}
    fields = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token, "extra": extra}
    return {"AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(fields)}


def kill_after_commits(process: subprocess.Popen[Any], commits: Path, number: int) -> None:
    """Wait until so many commits are there, read on for a moment, and end the process for good."""
    deadline = time.monotonic() + 100
    try:
        while len(list(commits.glob("*.json"))) < number:
            assert process.poll() is None, "it was done before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.15)
        assert process.poll() is None, "it was done before it could be killed"
    finally:
        kill_group(process)
        if process.stdout is not None:
            process.stdout.close()


def what_a_kill_left(landing: Landing, sandbox: Sandbox) -> int:
    """Check that what is visible is whole as far as it was read to the end; how many records that is.

    Of each commit's last page a part lies behind its window: that is there already, and read again.
    """
    state = landing.state(RESOURCE)
    assert state.current is None
    records, all_records = landing.records(RESOURCE), truth(sandbox, RESOURCE)
    assert all(all_records[key] == record for key, record in records.items())
    windows = [commit.window for commit in state.visible if commit.window]
    assert windows
    expected = {
        key
        for key, record in all_records.items()
        if (instant := cursor(RESOURCE, record)) and any(window.holds(instant) for window in windows)
    }
    assert expected
    assert expected <= records.keys()
    assert len(records.keys() - expected) <= PAGE * len(windows)
    return len(expected)


class Task:
    """A task in a process of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.landing = Landing(folder / "landing")
        self._folder = folder
        self._environment = clean_environment(folder) | environment

    def begin(self, kind: str, run_id: str = "first") -> subprocess.Popen[str]:
        arguments = json.dumps({"resource": RESOURCE, "destination": self.landing.uri})
        return subprocess.Popen(
            [sys.executable, str(HERE / "sync_once.py"), kind, arguments, run_id],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, kind: str, run_id: str = "first") -> dict[str, Any]:
        process = self.begin(kind, run_id)
        try:
            output, _ = process.communicate(timeout=100)
        finally:
            kill_group(process)
        assert process.returncode == 0, output
        receipt: dict[str, Any] = json.loads(output.splitlines()[-1])
        return receipt


@pytest.mark.parametrize("run_id", ["first", "another"])
def test_a_try_after_a_kill_begins_at_the_last_commit(tmp_path: Path, sandbox: Sandbox, run_id: str) -> None:
    task = Task(tmp_path, connection(sandbox, parallel=1))
    sandbox.behave(SLOW)
    kill_after_commits(task.begin("initial"), task.landing.stream(RESOURCE) / "_commits", 3)
    kept = what_a_kill_left(task.landing, sandbox)
    state = task.landing.state(RESOURCE)
    assert state.open is not None
    (missing,) = state.unread(state.open)

    sandbox.behave()
    sandbox.forget_requests()
    receipt = task.run("initial", run_id)
    assert window(receipt) == (missing.start, missing.end)
    # What is asked for from the beginning of time on only counts whether there are records without a time.
    assert min(at for at in asked_from(sandbox, RESOURCE) if at > EARLIEST) == missing.start
    every = since(RESOURCE, truth(sandbox, RESOURCE), state.open.start)
    assert task.landing.records(RESOURCE) == every
    assert receipt["records"] == len(every) - kept
    # Up to five records of a day come again, so that the next page can start at the full day.
    assert receipt["pages"] <= (len(every) - kept) / (PAGE - 5) + 2
    assert task.landing.state(RESOURCE).current == state.open


def test_parallel_reads_that_are_killed_leave_their_own_gaps_only(tmp_path: Path, sandbox: Sandbox) -> None:
    task = Task(tmp_path, connection(sandbox, parallel=4))
    sandbox.behave(SLOW)
    kill_after_commits(task.begin("initial"), task.landing.stream(RESOURCE) / "_commits", 4)
    kept = what_a_kill_left(task.landing, sandbox)

    sandbox.behave()
    receipt = task.run("initial")
    start = min(commit.generation.start for commit in task.landing.state(RESOURCE).commits)
    every = since(RESOURCE, truth(sandbox, RESOURCE), start)
    assert task.landing.records(RESOURCE) == every
    assert receipt["records"] == len(every) - kept


def test_a_killed_incremental_sync_moves_the_watermark_as_far_as_it_came(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    task = Task(tmp_path, connection(sandbox, parallel=1))
    task.run("initial")
    before = task.landing.state(RESOURCE).watermark
    assert before is not None
    for _ in range(8):
        sandbox.store.clock.advance(timedelta(days=3))
        sandbox.store.change(updates=15, inserts=5, resources=[RESOURCE])
    sandbox.store.clock.advance(timedelta(minutes=5))
    commits = task.landing.stream(RESOURCE) / "_commits"
    had = len(list(commits.glob("*.json")))

    sandbox.behave(SLOW)
    kill_after_commits(task.begin("incremental", "second"), commits, had + 2)
    half = task.landing.state(RESOURCE).watermark
    assert half is not None
    assert half > before

    sandbox.behave()
    receipt = task.run("incremental", "third")
    assert window(receipt)[0] == half - timedelta(hours=1)
    start = task.landing.state(RESOURCE).commits[0].generation.start
    assert task.landing.records(RESOURCE) == since(RESOURCE, truth(sandbox, RESOURCE), start)


def test_a_dag_run_that_is_killed_is_completed_by_the_next_one(
    tmp_path: Path, airflow_home: AirflowHome, runner: DagRunner, sandbox: Sandbox
) -> None:
    landing = Landing(tmp_path / "landing")
    environment = {
        **connection(sandbox, parallel=1),
        "MAKINI_DESTINATION": landing.uri,
        "MAKINI_RESOURCES": RESOURCE,
    }
    sandbox.behave(SLOW)
    process = subprocess.Popen(
        [str(BIN / "airflow"), "dags", "test", "makini_initial_sync"],
        cwd=airflow_home.folder,
        env=airflow_home.environment | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Months are committed one by one.
    kill_after_commits(process, landing.stream(RESOURCE) / "_commits", 1)
    kept = what_a_kill_left(landing, sandbox)

    sandbox.behave()
    run = runner.run("makini_initial_sync", environment)
    assert run.state == "success"
    start = landing.state(RESOURCE).commits[0].generation.start
    every = since(RESOURCE, truth(sandbox, RESOURCE), start)
    assert landing.records(RESOURCE) == every
    assert run.receipts[RESOURCE]["records"] == len(every) - kept
