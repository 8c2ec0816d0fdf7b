"""Single records, asked for by their keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from makini_provider.api.errors import (
    FingerprintError,
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniProtocolError,
    MakiniServerError,
    MakiniSyncError,
    MakiniUnauthorizedError,
    NoInitialSyncError,
)
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.run import StreamSync
from makini_provider.sync.single import SingleRecords
from makini_provider.sync.streams import Stream
from tests.sync.machine import STREAM
from tests.sync.memory import MemoryDestination
from tests.sync.model import ModelClient, ModelSource


class World:
    """A source whose first records have landed."""

    def __init__(self, records: int = 3) -> None:
        self.source = ModelSource(Random(5))
        self.keys = [self.source.insert() for _ in range(records)]
        self.destination = MemoryDestination()
        self.source.now += timedelta(minutes=1)
        StreamSync(ModelClient(self.source), self.destination, STREAM, run_id="0").initial(history=None)
        self.synced = len(self.destination.committed)

    def records(
        self, before_request: Callable[[int], object] = lambda number: None, stream: Stream = STREAM
    ) -> SingleRecords:
        client: Any = ModelClient(self.source, before_request=before_request)
        return SingleRecords(client, self.destination, stream, run_id="1")

    def landed(self) -> dict[str, int]:
        return {key: json.loads(row.raw)["version"] for key, row in self.destination.newest().items()}

    def truth(self) -> dict[str, int]:
        return {key: row["version"] for key, row in self.source.records.items()}

    def new_kinds(self) -> list[str]:
        return [commit.kind for commit in self.destination.committed[self.synced :]]


@pytest.fixture
def world() -> World:
    return World()


def test_what_the_api_has_lands_in_one_commit_and_the_watermark_stays(world: World) -> None:
    before = StreamState(world.destination.committed).watermark
    world.source.write(world.keys[0], world.source.tick())
    new = world.source.insert()
    asked = world.records().land([world.keys[0], new, new])
    assert asked.landed == {world.keys[0], new}
    assert world.landed() == world.truth()
    assert world.new_kinds() == ["events"]
    assert StreamState(world.destination.committed).watermark == before


def test_a_missing_record_is_buried_when_it_is_asked_for_again(world: World) -> None:
    gone = world.keys[1]
    del world.source.records[gone]
    records = world.records()
    asked = records.land([gone])
    assert (asked.missing, world.new_kinds()) == ({gone}, [])
    assert gone in world.landed(), "once is not enough"
    records.bury(asked.missing)
    assert world.landed() == world.truth()
    assert world.new_kinds() == ["tombstones"]


def test_a_record_that_is_back_lands_and_is_not_buried(world: World) -> None:
    row = world.source.records.pop(world.keys[1])
    records = world.records()
    missing = records.land([world.keys[1]]).missing
    world.source.records[world.keys[1]] = row
    assert records.bury(missing).landed == set(missing)
    assert world.new_kinds() == ["events"]


def test_a_record_that_is_created_after_its_tombstone_lives(world: World) -> None:
    records = world.records()
    records.bury(["K-new"])
    world.source.write("K-new", world.source.tick())
    records.land(["K-new"])
    assert world.landed() == world.truth()


def test_nothing_is_buried_where_single_records_are_not_served(world: World) -> None:
    """A 404 may be that of the endpoint: what the list shows is not found by its key either."""

    def only_lists(number: int) -> None:
        if number != 2:
            raise MakiniNotFoundError("no such endpoint", status=404)

    records = world.records(only_lists)
    missing = records.land(world.keys[:1]).missing
    assert missing == {world.keys[0]}
    with pytest.raises(MakiniSyncError, match="is not found by its key"):
        records.bury(missing)
    assert world.landed() == world.truth()


def test_one_bad_answer_does_not_hold_the_others_up(world: World) -> None:
    def garbage(number: int) -> None:
        if number == 1:
            raise MakiniProtocolError("<html>")

    asked = world.records(garbage).land(world.keys)
    assert list(asked.failed) == [world.keys[0]]
    assert asked.landed == set(world.keys[1:])


@pytest.mark.parametrize(
    "error",
    [MakiniUnauthorizedError("no", status=401), MakiniServerError("x", status=503, retry_after=60)],
)
def test_after_a_failure_that_concerns_all_nothing_more_is_asked(world: World, error: Exception) -> None:
    requests = []

    def refused(number: int) -> None:
        requests.append(number)
        if number == 2:
            raise error

    asked = world.records(refused).land(world.keys)
    assert asked.landed == {world.keys[0]}
    assert asked.failed == dict.fromkeys(world.keys[1:], error)
    assert requests == [1, 2]
    assert world.new_kinds() == ["events"], "what came has landed"


@pytest.mark.parametrize(
    "error",
    [
        MakiniServerError("this record can't be read", status=500),
        MakiniConnectionError("timed out"),
        MakiniForbiddenError("not this one", status=403),
    ],
)
def test_a_record_that_can_not_be_served_does_not_hold_the_others_up(world: World, error: Exception) -> None:
    """Else the events of the others would fail with it as often, and die with it."""

    def refused(number: int) -> None:
        if number == 1:
            raise error

    asked = world.records(refused).land(world.keys)
    assert asked.failed == {world.keys[0]: error}
    assert asked.landed == set(world.keys[1:])


def test_after_several_failures_in_a_row_nothing_more_is_asked() -> None:
    world = World(records=8)
    requests = []

    def refused(number: int) -> None:
        requests.append(number)
        if number not in (1, 4):
            raise MakiniConnectionError("refused")

    asked = world.records(refused).land(world.keys)
    assert asked.landed == {world.keys[0], world.keys[3]}
    assert requests == [1, 2, 3, 4, 5, 6, 7]
    assert set(asked.failed) == set(world.keys) - asked.landed


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../a", "a\\..\\b", "a\x00b", "a\nb", "K" * 1025])
def test_a_key_that_would_bend_a_path_is_not_asked_for(world: World, key: str) -> None:
    requests: list[int] = []
    asked = world.records(requests.append).land([key, world.keys[0]])
    assert isinstance(asked.failed[key], MakiniConfigurationError)
    assert asked.landed == {world.keys[0]}
    assert requests == [1]


def test_before_the_initial_sync_nothing_lands() -> None:
    world = World()
    world.destination.committed.clear()
    with pytest.raises(NoInitialSyncError, match="Nothing is lost"):
        world.records().land(world.keys)


def test_a_stream_with_filters_takes_none(world: World) -> None:
    narrowed = Stream(STREAM.source, STREAM.resource, {"siteKey": "S-1"})
    with pytest.raises(FingerprintError):
        world.records(stream=narrowed).land(world.keys)
