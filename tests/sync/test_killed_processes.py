"""Real processes that are killed: nothing half is visible, nothing is lost, and the next try goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from makini_provider.api.resources import get_resource
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records, stream_state
from makini_provider.destinations.files.store import open_store
from makini_provider.sandbox import Behaviour, Sandbox
from makini_provider.sync.streams import Source, Stream
from makini_provider.sync.windows import subtract
from tests.sync.machine import newest_of
from tests.sync.processes import DieBeforeWrite, OnS3, Task

RESOURCE = "eam/work-orders"
FOLDER = stream_folder(Stream(Source("makini_default"), get_resource(RESOURCE)))
PAGE = 10
LATENCY = 0.02
SLOW = Behaviour(latency=LATENCY)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=8, token="tok-killed-4712", records=120, days=30) as sandbox:
        yield sandbox


class Scene:
    """A source over HTTP, a destination, and tasks between them."""

    def __init__(
        self, sandbox: Sandbox, uri: str, *, parallel: int = 1, history: int = 30, setting: Any = None
    ) -> None:
        self.sandbox = sandbox
        self.uri = uri
        self.history = history
        self.setting = setting
        self.store = open_store(uri)
        extra = {"page_size": PAGE, "max_parallel_requests": parallel}
        self.connection = {
            "conn_type": "makini",
            "host": sandbox.url,
            "password": sandbox.token,
            "extra": extra,
        }
        self.watermark: datetime | None = None

    def begin(self, kind: str, *, run_id: str = "run", setting: Any = None) -> Task:
        arguments = {"resource": RESOURCE, "destination": self.uri, "history": self.history}
        return Task(kind, arguments, self.connection, run_id=run_id, setting=setting or self.setting)

    def run(self, kind: str, *, run_id: str = "run") -> dict[str, Any]:
        """A task that nobody kills."""
        receipt = self.begin(kind, run_id=run_id).wait()
        assert isinstance(receipt, dict), receipt
        return receipt

    def truth(self) -> dict[str, dict[str, Any]]:
        return {
            record["key"]: record for record in json.loads(json.dumps(self.sandbox.store.records(RESOURCE)))
        }

    def check_what_is_there(self) -> int:
        """What is visible is whole: all that it says to cover; how many commits that is."""
        state, truth = stream_state(self.store, FOLDER), self.truth()
        landed = newest_of(list(newest_records(self.store, FOLDER)))
        for key, record in truth.items():
            if any(window.holds(datetime.fromisoformat(record["updatedAt"])) for window in state.coverage):
                assert landed.get(key) == record
        if self.watermark is not None:
            assert state.watermark is not None
            assert state.watermark >= self.watermark, "the watermark went back"
        self.watermark = state.watermark
        return len(state.commits)

    def check_that_it_goes_on(self) -> None:
        """The next try keeps what is there, and brings the rest."""
        self.check_what_is_there()
        before = stream_state(self.store, FOLDER)
        self.run("initial")
        self.check_all_is_there()
        after = stream_state(self.store, FOLDER)
        assert len(after.generations) == 1, "it began anew"
        new = [commit for commit in after.commits if commit not in before.commits]
        assert all(commit in after.commits for commit in before.commits)
        read_twice = [
            (old.window, commit.window)
            for old in before.commits
            for commit in new
            if old.window and commit.window and subtract(old.window, [commit.window]) != [old.window]
        ]
        assert read_twice == []

    def check_all_is_there(self) -> None:
        self.check_what_is_there()
        state = stream_state(self.store, FOLDER)
        assert state.anchor is not None
        assert state.watermark is not None
        landed = newest_of(list(newest_records(self.store, FOLDER)))
        wanted = {
            key: record
            for key, record in self.truth().items()
            if state.anchor <= datetime.fromisoformat(record["updatedAt"]) < state.watermark
        }
        assert wanted
        assert {key: landed.get(key) for key in wanted} == wanted

    def kill_at(self, request: int, seconds: float, kind: str, *, run_id: str = "run") -> bool:
        """Kill a task a moment after its so-many-th request; whether that was before it came through."""
        self.sandbox.forget_requests()
        task = self.begin(kind, run_id=run_id)
        deadline = time.monotonic() + 60
        while len(self.sandbox.requests) < request and task.runs():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(seconds)
        in_time = task.runs()
        task.kill()
        self.check_what_is_there()
        return in_time


def test_between_any_two_writes(tmp_path: Path, sandbox: Sandbox) -> None:
    deaths = 0
    for number in count(1):
        folder = tmp_path / str(number)
        scene = Scene(sandbox, f"file://{folder}", history=12)
        if scene.begin("initial", setting=DieBeforeWrite(str(folder), number)).wait() is not None:
            break
        deaths += 1
        scene.check_that_it_goes_on()
    assert deaths > 12


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_beside_requests_to_an_object_store(sandbox: Sandbox, pond: str, after: bool) -> None:
    deaths = 0
    for number in count(1):
        uri = f"s3://pond@bucket/{after}/{number}"
        scene = Scene(sandbox, uri, history=12, setting=OnS3(pond))
        if scene.begin("initial", setting=OnS3(pond, number, after=after)).wait() is not None:
            break
        deaths += 1
        scene.check_that_it_goes_on()
    assert deaths > 3


@pytest.mark.parametrize("parallel", [1, 4])
def test_an_initial_sync_at_any_moment(tmp_path: Path, sandbox: Sandbox, parallel: int) -> None:
    """Killed again and again, by a stated seed, while the source changes, until it comes through."""
    random = Random(20260801 + parallel)
    Scene(sandbox, f"file://{tmp_path}/clean", parallel=parallel).run("initial")
    usual = len(sandbox.requests)
    sandbox.behave(SLOW)
    in_time = 0
    for number in range(3):
        scene = Scene(sandbox, f"file://{tmp_path}/{number}", parallel=parallel)
        for _ in range(4):
            in_time += scene.kill_at(random.randint(1, usual // 2), random.random() * LATENCY, "initial")
            sandbox.store.change(updates=4, inserts=2, hard_deletes=1, resources=[RESOURCE])
        scene.check_that_it_goes_on()
    assert in_time >= 6


def test_an_incremental_sync_at_any_moment(tmp_path: Path, sandbox: Sandbox) -> None:
    random = Random(20260802)
    scene = Scene(sandbox, f"file://{tmp_path}/landing")
    scene.run("initial")
    sandbox.behave(SLOW)
    in_time = 0
    for number in range(10):
        for _ in range(3):
            sandbox.store.clock.advance(timedelta(days=3))
            sandbox.store.change(updates=15, inserts=5, resources=[RESOURCE])
        sandbox.store.clock.advance(timedelta(minutes=5))
        request = random.randint(1, 8)
        in_time += scene.kill_at(request, random.random() * LATENCY, "incremental", run_id=str(number))
    assert in_time >= 5
    scene.run("incremental", run_id="last")
    scene.check_all_is_there()
