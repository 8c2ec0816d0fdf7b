"""Real processes beside each other: syncs, backfills, full refreshes and vacuums, while somebody reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from makini_provider.api.resources import get_resource
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records, stream_state
from makini_provider.destinations.files.store import open_store
from makini_provider.sandbox import Sandbox
from makini_provider.sync.streams import Source, Stream
from tests.sync.machine import newest_of
from tests.sync.onlooker import Onlooker
from tests.sync.processes import OnS3, Task, Vacuum

SECONDS = 4.0
LOOKS = 2
"""So long, and until so often somebody has looked, they work beside each other."""
STREAMS = ("eam/work-orders", "eam/assets")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=9, token="tok-beside-4713", records=150, days=30) as sandbox:
        yield sandbox


@pytest.fixture(params=["local disk", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    """A destination's URI, and what a process does to open it."""
    if request.param == "local disk":
        return f"file://{tmp_path}/landing", None
    return f"s3://pond@bucket/{tmp_path.name}", OnS3(request.getfixturevalue("pond"))


class Crowd:
    """Many processes on one destination, each beginning anew when it is done.

    :param grace: of vacuum
    """

    def __init__(self, sandbox: Sandbox, place: tuple[str, Any], *, grace: timedelta) -> None:
        self.sandbox = sandbox
        self.grace = grace
        self.uri, self.setting = place
        self.random = Random(7)
        self.deleted: set[str] = set()
        self.runs = 0
        self.failures: list[str] = []
        self.until = 0.0
        extra = {"page_size": 20, "max_parallel_requests": 2}
        self.connection = {
            "conn_type": "makini",
            "host": sandbox.url,
            "password": sandbox.token,
            "extra": extra,
        }
        self.onlookers = [
            Onlooker(folder(name), lambda name=name: self.changed(name), self.deleted, lenient=self.lenient)
            for name in STREAMS
        ]

    @property
    def lenient(self) -> bool:
        return self.grace < timedelta(hours=1)

    def changed(self, resource: str) -> dict[str, datetime]:
        return {
            record["key"]: datetime.fromisoformat(record["updatedAt"])
            for record in self.sandbox.store.records(resource)
        }

    def sync(self, kind: str, resource: str, **arguments: Any) -> Any:
        self.runs += 1
        arguments |= {"resource": resource, "destination": self.uri, "history": 30}
        run_id = f"run {self.runs}"
        task = Task(kind, arguments, self.connection, run_id=run_id, setting=self.setting)
        return task.wait()

    def until_the_end(self, act: Callable[[], Any]) -> None:
        while time.monotonic() < self.until or min(onlooker.looks for onlooker in self.onlookers) < LOOKS:
            result = act()
            if isinstance(result, str):
                self.failures.append(result)

    def up_to_now(self, resource: str) -> Any:
        return self.sync("incremental", resource)

    def backfill(self) -> Any:
        start = datetime.now(UTC) - timedelta(days=self.random.randint(2, 30))
        window = {"window_start": start.isoformat(), "window_end": (start + timedelta(days=2)).isoformat()}
        return self.sync("incremental", STREAMS[0], **window)

    def full_refresh(self) -> Any:
        return self.sync("initial", STREAMS[0], full_refresh=True)

    def vacuum(self) -> Any:
        return Vacuum(self.uri, self.grace, setting=self.setting).wait()

    def change_and_look(self) -> None:
        for resource in STREAMS:
            changes = self.sandbox.store.change(updates=4, inserts=1, hard_deletes=1, resources=[resource])
            self.deleted.update(changes[resource]["hard_deleted"])
        store = open_store(self.uri)
        for onlooker in self.onlookers:
            onlooker.look(store)

    def work(self) -> None:
        """All of them beside each other, for some seconds, while the source changes and somebody reads."""
        for resource in STREAMS:
            assert isinstance(self.sync("initial", resource), dict)
        self.until = time.monotonic() + SECONDS
        acts = [
            lambda: self.up_to_now(STREAMS[0]),
            lambda: self.up_to_now(STREAMS[0]),
            lambda: self.up_to_now(STREAMS[1]),
            self.backfill,
            self.full_refresh,
            self.vacuum,
        ]
        with ThreadPoolExecutor(len(acts)) as threads:
            actors = [threads.submit(self.until_the_end, act) for act in acts]
            self.until_the_end(self.change_and_look)
        for actor in actors:
            actor.result()

    def check_all_is_there(self) -> None:
        for resource in STREAMS:
            receipt = self.up_to_now(resource)
            assert isinstance(receipt, dict), receipt
            store = open_store(self.uri)
            state = stream_state(store, folder(resource))
            assert state.anchor is not None
            assert state.watermark is not None
            landed = newest_of(list(newest_records(store, folder(resource))))
            truth = {record["key"]: record for record in self.sandbox.store.records(resource)}
            changed = self.changed(resource)
            wanted = {
                key: record for key, record in truth.items() if state.anchor <= changed[key] < state.watermark
            }
            assert len(wanted) > 20
            assert {key: landed.get(key) for key in wanted} == wanted
            assert landed.keys() <= truth.keys() | self.deleted


def folder(resource: str) -> str:
    return stream_folder(Stream(Source("makini_default"), get_resource(resource)))


def test_nothing_is_lost_and_readers_are_right(sandbox: Sandbox, place: tuple[str, Any]) -> None:
    crowd = Crowd(sandbox, place, grace=timedelta(hours=24))
    crowd.work()
    assert crowd.failures == []
    assert crowd.runs > 8
    crowd.check_all_is_there()


def test_a_vacuum_without_grace_costs_retries_and_no_record(sandbox: Sandbox, place: tuple[str, Any]) -> None:
    crowd = Crowd(sandbox, place, grace=timedelta(0))
    crowd.work()
    assert all(failure.startswith("MakiniDestinationError: ") for failure in crowd.failures), crowd.failures
    crowd.check_all_is_there()
