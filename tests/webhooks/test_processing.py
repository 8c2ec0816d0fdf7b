"""Working off the inbox: what becomes of each event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import pytest

from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniInboxError,
    MakiniNotFoundError,
    MakiniRateLimitError,
    MakiniUnauthorizedError,
)
from makini_provider.api.resources import get_resource
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream
from makini_provider.webhooks.inbox import Inbox
from makini_provider.webhooks.processing import Binding, Drained, Processor
from tests.sync.memory import MemoryDestination
from tests.sync.model import ModelClient, ModelSource

from .events import let_time_pass, received

ASSETS = get_resource("eam/assets")
MINUTE = timedelta(minutes=1)


class Plant:
    """A source with assets, the stream that they land in, and what happens before each request."""

    def __init__(self, conn_id: str, resource: str = "eam/assets", seed: int = 1) -> None:
        self.source = ModelSource(Random(seed))
        self.stream = Stream(Source(conn_id), get_resource(resource))
        self.destination = MemoryDestination()
        self.keys = [self.source.insert() for _ in range(3)]
        self.before_request: Callable[[int], object] = lambda number: None
        self.requests = 0
        self.sync()

    def sync(self) -> None:
        self.source.now += MINUTE
        sync = StreamSync(ModelClient(self.source), self.destination, self.stream, run_id="0")
        sync.initial(history=None)

    def update(self, key: str) -> str:
        self.source.write(key, self.source.tick())
        return key

    @property
    def landed(self) -> dict[str, int]:
        return {key: json.loads(row.raw)["version"] for key, row in self.destination.newest().items()}

    @property
    def truth(self) -> dict[str, int]:
        return {key: row["version"] for key, row in self.source.records.items()}


class World:
    """An inbox and the plants that its endpoints are bound to."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/inbox.db"
        self.inbox = Inbox(self.url, max_attempts=3)
        self.plants = {"one": Plant("one")}

    def event(self, name: str = "assets.updated", body: Any = None, **fields: Any) -> None:
        content = {"event": name, "body": body} if body is not None else {"event": name}
        self.put(json.dumps(content | fields).encode())

    def put(self, payload: bytes, endpoint: str = "plant") -> None:
        kind = "assets.updated" if b"assets" in payload else None
        self.inbox.put(received(payload, endpoint=endpoint, type=kind))

    def drain(self, linger: timedelta = timedelta(0), **options: Any) -> Drained:
        processor = Processor(
            self.inbox,
            binding_of=self.binding_of,
            client_of=self.client_of,
            destination_of=self.destination_of,
            worker="test",
            run_id="run",
            **options,
        )
        return processor.drain(at_most=MINUTE, linger=linger)

    def binding_of(self, endpoint: str) -> Binding:
        if endpoint != "plant":
            raise MakiniConfigurationError(f"there is no endpoint {endpoint!r}.")
        sources = list(dict.fromkeys(plant.stream.source for plant in self.plants.values()))
        return Binding(sources, ("eam", "erp"), "memory:")

    @contextmanager
    def client_of(self, source: Source) -> Iterator[Any]:
        plant = next(plant for plant in self.plants.values() if plant.stream.source == source)

        def before_request(number: int) -> None:
            plant.requests += 1
            plant.before_request(number)

        yield ModelClient(plant.source, before_request=before_request)

    def destination_of(self, uri: str) -> Any:
        return Destinations(list(self.plants.values()))


class Destinations:
    """One destination for the streams of all plants."""

    def __init__(self, plants: list[Plant]) -> None:
        self._of = {str(plant.stream): plant.destination for plant in plants}

    def commits(self, stream: Stream) -> list[Any]:
        return self._of.get(str(stream), MemoryDestination()).commits(stream)

    def begin(self, stream: Stream) -> Any:
        return self._of[str(stream)].begin(stream)

    def location(self, stream: Stream) -> str:
        return f"memory:{stream}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.inbox.close()


def states(world: World) -> dict[str, int]:
    counts = world.inbox.counts()
    return {"waiting": counts.waiting, "claimed": counts.claimed, "dead": counts.dead, "done": counts.done}


def test_many_events_land_as_one_commit_and_each_key_is_asked_for_once(world: World) -> None:
    plant = world.plants["one"]
    commits = len(plant.destination.committed)
    for _ in range(5):
        world.event(body=[plant.update(key) for key in plant.keys] + [plant.source.insert()])
    drained = world.drain()
    assert plant.landed == plant.truth
    assert len(plant.destination.committed) == commits + 1
    assert plant.requests == 3 + 5
    assert (drained.done, drained.landed) == (5, {"one/eam/assets": 8})
    assert states(world) == {"waiting": 0, "claimed": 0, "dead": 0, "done": 5}
    assert len(drained.seconds_to_land) == 5


def test_what_comes_shortly_after_lands_in_the_same_run(world: World) -> None:
    plant = world.plants["one"]
    later = Timer(0.2, lambda: world.event(body=[plant.update(plant.keys[1])]))
    later.start()
    world.event(body=[plant.update(plant.keys[0])])
    assert world.drain(linger=timedelta(seconds=0.6)).done == 2
    later.join()


@pytest.mark.parametrize("name", ["sync.completed", "connection.offline", "system.error"])
def test_who_is_to_do_something_need_not_wait_for_further_events(world: World, name: str) -> None:
    world.event(name)
    began = time.monotonic()
    assert world.drain(linger=timedelta(seconds=30)).done == 1
    assert time.monotonic() - began < 5


def test_however_many_batches_a_run_has_the_destination_is_looked_through_once(world: World) -> None:
    plant = world.plants["one"]
    looks = []
    commits = plant.destination.commits

    def counted(stream: Stream) -> Any:
        looks.append(stream)
        return commits(stream)

    plant.destination.commits = counted  # type: ignore[method-assign]
    for key in plant.keys:
        world.event(body=[plant.update(key)])
    assert world.drain(events_per_batch=1).done == 3
    assert plant.landed == plant.truth
    assert len(looks) == 1


def test_the_payload_is_a_hint_and_the_api_the_truth(world: World) -> None:
    """An event of long ago brings what is there now."""
    plant = world.plants["one"]
    world.event(body=[plant.keys[0]])
    plant.update(plant.keys[0])
    plant.update(plant.keys[0])
    world.drain()
    assert plant.landed == plant.truth


def test_what_is_gone_gets_a_tombstone(world: World) -> None:
    plant = world.plants["one"]
    del plant.source.records[plant.keys[0]]
    world.event(body=plant.keys)
    drained = world.drain()
    assert plant.landed == plant.truth
    assert drained.tombstones == {"one/eam/assets": 1}
    assert drained.done == 1


def test_a_key_of_another_source_leaves_no_tombstone(world: World) -> None:
    world.plants["two"] = Plant("two", seed=2)
    one, two = world.plants["one"], world.plants["two"]
    shared = one.keys[0]
    two.source.write(shared, two.source.tick())
    world.event(body=[one.update(one.keys[1]), shared])
    drained = world.drain()
    assert one.landed == one.truth
    assert two.landed == two.truth
    assert not drained.tombstones
    assert drained.ambiguous == 1, "both have the shared one"
    assert drained.landed == {"one/eam/assets": 2, "two/eam/assets": 1}


def test_a_key_that_no_source_has_is_gone_from_all(world: World) -> None:
    world.plants["two"] = Plant("two", seed=2)
    one = world.plants["one"]
    del one.source.records[one.keys[0]]
    world.event(body=[one.keys[0]])
    world.drain()
    assert one.landed == one.truth


def test_only_what_is_synced_is_asked(world: World) -> None:
    """The endpoint is bound to eam and erp; the initial sync of erp/sites has not begun."""
    world.event("sites.updated", body=["S-1"])
    drained = world.drain()
    assert world.plants["one"].requests == 0
    assert set(drained.not_synced) == {
        "one/eam/sites: NoInitialSyncError",
        "one/erp/sites: NoInitialSyncError",
    }
    assert drained.done == 1, "the initial sync, when it comes, reads the record by itself"


def test_bad_keys_are_dead_with_the_reason_and_the_good_ones_have_landed(world: World) -> None:
    plant = world.plants["one"]
    world.event(body=["../secrets", plant.update(plant.keys[0]), "", 1.5])
    drained = world.drain()
    assert plant.landed == plant.truth
    (letter,) = world.inbox.dead_letters()
    assert "'../secrets' would bend the path" in letter.error
    assert len(drained.dead) == 1


def test_what_makes_no_sense_is_dead_and_can_be_looked_at(world: World) -> None:
    world.put(b"\xff\xfe")
    world.drain()
    (letter,) = world.inbox.dead_letters()
    assert letter.payload == b"\xff\xfe"
    assert "no JSON" in letter.error


def test_unknown_types_are_kept_and_counted(world: World) -> None:
    world.event("invoice.paid", amount=3)
    drained = world.drain()
    assert drained.unknown == {"invoice.paid": 1}
    assert states(world)["done"] == 1


@pytest.mark.parametrize(
    "error", [MakiniConnectionError("refused"), MakiniUnauthorizedError("expired", status=401)]
)
def test_a_failure_is_tried_again_and_given_up_in_the_end(world: World, error: Exception) -> None:
    plant = world.plants["one"]

    def fail(number: int) -> None:
        raise error

    plant.before_request = fail
    world.event(body=[plant.update(plant.keys[0])])
    assert world.drain().retried == 1
    assert states(world)["waiting"] == 1
    assert world.drain().retried == 0, "not before its time"
    for _ in range(2):
        let_time_pass(world.url)
        drained = world.drain()
    assert len(drained.dead) == 1
    assert str(error) in world.inbox.dead_letters()[0].error

    plant.before_request = lambda number: None
    world.inbox.replay()
    assert world.drain().done == 1
    assert plant.landed == plant.truth


def test_an_error_that_nobody_expected_costs_no_other_event_anything(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    plant = world.plants["one"]
    bindings = world.binding_of

    def binding_of(endpoint: str) -> Binding:
        if endpoint == "poison":
            raise RuntimeError("s3cret")
        return bindings(endpoint)

    world.binding_of = binding_of  # type: ignore[method-assign]
    world.put(b'{"event": "assets.updated", "body": ["1"]}', endpoint="poison")
    world.event(body=[plant.update(plant.keys[0])])
    drained = world.drain()
    assert (drained.done, drained.retried) == (1, 1)
    assert plant.landed == plant.truth
    assert "RuntimeError: s3cret" in caplog.text, "the whole of it is in the task's log"
    for _ in range(2):
        let_time_pass(world.url)
        drained = world.drain()
    assert len(drained.dead) == 1
    assert "nobody expected, RuntimeError" in world.inbox.dead_letters()[0].error
    assert "s3cret" not in world.inbox.dead_letters()[0].error


def test_an_error_that_nobody_expected_while_landing_is_an_attempt_too(world: World) -> None:
    plant = world.plants["one"]

    def fail(number: int) -> None:
        raise RuntimeError("a bug")

    plant.before_request = fail
    world.event(body=[plant.update(plant.keys[0])])
    assert world.drain().retried == 1
    assert states(world)["waiting"] == 1, "not until its lease has passed"
    plant.before_request = lambda number: None
    let_time_pass(world.url)
    assert world.drain().done == 1
    assert plant.landed == plant.truth


def test_the_next_attempt_waits_as_long_as_the_server_says(world: World) -> None:
    def fail(number: int) -> None:
        raise MakiniRateLimitError("slow down", status=429, retry_after=1800)

    plant = world.plants["one"]
    plant.before_request = fail
    world.event(body=plant.keys)
    world.drain()
    with world.inbox._database.transaction(write=False) as connection:
        (due,) = connection.exec_driver_sql("SELECT due_at FROM makini_inbox").one()
    wait = datetime.fromisoformat(due).replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(minutes=29) < wait < timedelta(minutes=31)


def test_a_connection_without_single_records_loses_nothing(world: World) -> None:
    plant = world.plants["one"]

    class OnlyLists(ModelClient):
        def read_record(self, resource: Any, key: str) -> Any:
            raise MakiniNotFoundError("no route", status=404)

    @contextmanager
    def client_of(source: Source) -> Iterator[Any]:
        yield OnlyLists(plant.source)

    world.client_of = client_of  # type: ignore[method-assign]
    world.event(body=plant.keys)
    for _ in range(3):
        drained = world.drain()
        let_time_pass(world.url)
    assert plant.landed == plant.truth
    assert "is not found by its key" in drained.dead[0]


def test_an_endpoint_that_is_not_set_up_keeps_its_events(world: World) -> None:
    world.put(b'{"event": "assets.updated", "body": ["1"]}', endpoint="old")
    assert world.drain().retried == 1
    assert states(world)["waiting"] == 1


@pytest.mark.parametrize(
    ("content", "attribute", "expected"),
    [
        ({"event": "sync.completed"}, "sync_completed", ["one"]),
        ({"event": "sync.completed", "connection_id": "unheard of"}, "sync_completed", ["one"]),
        ({"event": "connection.requires_authentication"}, "connections", ["one"]),
        ({"event": "system.error", "details": "disk full"}, "errors", ["system.error (one) disk full"]),
    ],
)
def test_platform_events_say_what_others_have_to_do(
    world: World, content: dict[str, Any], attribute: str, expected: list[str]
) -> None:
    world.put(json.dumps(content).encode())
    drained = world.drain()
    assert getattr(drained, attribute) == expected
    assert drained.done == 1


def test_a_worker_that_dies_between_landing_and_its_end_loses_nothing(world: World) -> None:
    plant = world.plants["one"]
    world.event(body=[plant.update(plant.keys[0])])
    done = world.inbox.done

    def die(event: Any) -> None:
        raise KeyboardInterrupt

    world.inbox.done = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.drain()
    world.inbox.done = done  # type: ignore[method-assign]
    assert world.drain().done == 0, "its lease goes on"
    let_time_pass(world.url)
    assert world.drain().done == 1
    assert plant.landed == plant.truth


def test_a_worker_that_dies_before_its_receipt_is_told_of_platform_events_again(world: World) -> None:
    world.event("system.error", details="disk full")
    world.drain(events_per_batch=1)
    world.event("system.error", details="again")
    plant = world.plants["one"]
    world.event(body=[plant.update(plant.keys[0])])
    done = world.inbox.done

    def die(event: Any) -> None:
        raise MakiniInboxError("the database has gone")

    world.inbox.done = die  # type: ignore[method-assign]
    with pytest.raises(MakiniInboxError):
        world.drain(events_per_batch=1)
    world.inbox.done = done  # type: ignore[method-assign]
    let_time_pass(world.url)
    assert world.drain().errors == ["system.error (one) again"]
    assert states(world) == {"waiting": 0, "claimed": 0, "dead": 0, "done": 3}


def test_a_lease_that_has_passed_leaves_the_event_to_the_other_worker(world: World) -> None:
    plant = world.plants["one"]
    world.event(body=[plant.update(plant.keys[0])])

    def overtaken(number: int) -> None:
        plant.before_request = lambda number: None
        let_time_pass(world.url)
        assert world.drain().done == 1

    plant.before_request = overtaken
    assert world.drain().done == 0
    assert states(world) == {"waiting": 0, "claimed": 0, "dead": 0, "done": 1}
    assert plant.landed == plant.truth


def test_the_receipt_is_plain_data(world: World) -> None:
    plant = world.plants["one"]
    world.event(body=plant.keys)
    receipt = world.drain().receipt()
    assert json.loads(json.dumps(receipt)) == receipt
    assert receipt["done"] == 1
    assert receipt["seconds_to_land"]["longest"] >= 0
