"""Any interleaving of webhooks, duplicates, polls, snapshots of truth and failures converges to the source.

The machine of the syncs, with an inbox beside it: changes are told of or not, at once or late, once or more
often, in any order; workers fail, die between any two steps, or come back after their lease has passed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from sqlalchemy import create_engine, text

from makini_provider.api.errors import (
    MakiniConnectionError,
    MakiniProtocolError,
    MakiniRateLimitError,
    MakiniServerError,
    MakiniUnauthorizedError,
)
from makini_provider.sync.streams import Source
from makini_provider.webhooks.inbox import Event, Inbox, Received
from makini_provider.webhooks.processing import Binding, Processor, _Work
from tests.sync.machine import STREAM, Killed, SyncMachine, dated_from, scenarios, seeds
from tests.sync.model import ModelClient
from tests.sync.test_nothing_is_lost_in_files import _Files, _no_waiting_for_the_disk  # noqa: F401


class DyingInbox:
    """An inbox in a process that dies when it ends its so-many-th event."""

    def __init__(self, inbox: Inbox, operation: int) -> None:
        self._inbox = inbox
        self._left = operation

    def claim(self, worker: str, *, limit: int, lease: timedelta) -> list[Event]:
        return self._inbox.claim(worker, limit=limit, lease=lease)

    def _step(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Killed

    def done(self, event: Event) -> None:
        self._step()
        self._inbox.done(event)

    def retry(self, event: Event, error: str, *, delay: timedelta | None = None) -> bool:
        self._step()
        return self._inbox.retry(event, error, delay=delay)

    def dead(self, event: Event, error: str) -> None:
        self._step()
        self._inbox.dead(event, error)


class WebhookMachine(_Files, SyncMachine):
    """Webhooks beside the syncs of a stream."""

    def make_destination(self) -> Any:
        self.inbox_folder = tempfile.mkdtemp()
        self.inbox = Inbox(f"sqlite:///{self.inbox_folder}/inbox.db", max_attempts=1000)
        self.untold: list[str] = []
        self.told: list[bytes] = []
        self.last_told: dict[str, dict[str, Any] | None] = {}
        self.last_trouble = False
        return super().make_destination()

    # What is told

    def mutate(self) -> None:
        before = {key: row["version"] for key, row in self.source.records.items()}
        super().mutate()
        after = {key: row["version"] for key, row in self.source.records.items()}
        self.untold += [key for key in {*before, *after} if before.get(key) != after.get(key)]

    @precondition(lambda self: getattr(self, "untold", None))
    @rule(seed=seeds)
    def tell(self, seed: int) -> None:
        """Makini tells of some changes: grouped somehow, in any order, also of what has vanished since."""
        random = Random(seed)
        keys = random.sample(self.untold, random.randint(1, len(self.untold)))
        self.untold = [key for key in self.untold if key not in keys]
        while keys:
            size = random.randint(1, len(keys))
            body, keys = keys[:size], keys[size:]
            name = random.choice(["work-orders.updated", "work-orders.inserted"])
            self.receive(json.dumps({"event": name, "body": body}).encode())

    @precondition(lambda self: getattr(self, "told", None))
    @rule(seed=seeds)
    def tell_again(self, seed: int) -> None:
        """A duplicate, of whatever age."""
        self.receive(Random(seed).choice(self.told))

    @precondition(lambda self: hasattr(self, "inbox"))
    @rule(payload=seeds)
    def tell_nonsense(self, payload: int) -> None:
        random = Random(payload)
        body = random.choice([["nobody's"], [".."], ["a/b", "K1"], [], None, {"keys": ["K2"]}])
        self.receive(json.dumps({"event": "work-orders.updated", "body": body}).encode())

    @precondition(lambda self: getattr(self, "untold", None))
    @rule()
    def never_tell(self) -> None:
        self.untold.clear()

    def receive(self, payload: bytes) -> None:
        self.told.append(payload)
        for key in _keys(payload):
            self.last_told[key] = self.source.records.get(key)
        self.inbox.put(Received(endpoint="e", payload=payload, type="t", received_at=datetime.now(UTC)))

    # What is made of it

    @precondition(lambda self: hasattr(self, "inbox"))
    @rule(trouble=seeds)
    def work(self, trouble: int) -> None:
        """A worker to whom much can happen."""
        random = Random(trouble)
        fail_at = random.choice([0, 0, 0, random.randint(1, 6)])
        other_at = random.choice([0, 0, random.randint(1, 5)])
        rate = random.choice([0, 0, 0.4])
        destination, inbox = self.destination, self.inbox
        if random.random() < 0.2:
            destination = self.killing(random.randint(1, 8), after=random.random() < 0.5)
        elif random.random() < 0.2:
            inbox = DyingInbox(inbox, random.randint(1, 4))  # type: ignore[assignment]

        def before_request(number: int) -> None:
            if random.random() < rate:
                self.mutate()
            if number == other_at:
                beside: list[Callable[[], Any]] = [
                    self.work_quietly,
                    self.let_leases_pass,
                    lambda: self.attempt(self.up_to_now, self.client()),
                ]
                if not self.last_trouble:
                    refresh = {"history": None, "full_refresh": True}
                    beside.append(lambda: self.attempt(lambda sync: sync.initial(**refresh), self.client()))
                act = random.choice(beside)
                act()
            if number == fail_at:
                kinds = [MakiniServerError, MakiniConnectionError, MakiniProtocolError]
                raise random.choice([*kinds, MakiniRateLimitError, MakiniUnauthorizedError])("fault")

        self.drain(inbox, destination, before_request)

    @precondition(lambda self: hasattr(self, "inbox"))
    @rule()
    def let_leases_pass(self) -> None:
        """All leases and pauses are over."""
        engine = create_engine(f"sqlite:///{self.inbox_folder}/inbox.db")
        with engine.begin() as connection:
            connection.execute(text("UPDATE makini_inbox SET due_at = received_at WHERE finished_at IS NULL"))
        engine.dispose()

    def work_quietly(self) -> None:
        self.drain(self.inbox, self.destination, lambda number: None)

    def drain(self, inbox: Any, destination: Any, before_request: Callable[[int], None]) -> None:
        @contextmanager
        def client_of(source: Source) -> Iterator[ModelClient]:
            yield self.client(before_request)

        processor = Processor(
            inbox,
            binding_of=lambda name: Binding([STREAM.source], ("eam",), "here"),
            client_of=client_of,  # type: ignore[arg-type]
            destination_of=lambda uri: destination,
            worker="worker",
            run_id="webhooks",
            events_per_batch=self.random.choice([1, 3, 100]),
        )
        with suppress(Killed):
            processor.drain(at_most=timedelta(minutes=1))

    # What must hold

    def settle(self) -> None:
        """What waits is worked off: then the destination knows of each event, or of something newer.

        Before that a last trouble, after which no sync mends what went wrong.
        """
        self.source.now += timedelta(seconds=2)
        if self.state().current is None:
            # What was told before the initial sync is left to it.
            self.work_quietly()
            assert self.attempt(lambda sync: sync.initial(history=None), self.client()) is None
        # Where a full refresh begins in the middle of a batch, the next sync brings what that batch read.
        assert self.attempt(self.up_to_now, self.client()) is None
        self.last_trouble = True
        for _ in range(3):
            self.change(3)
            if self.untold:
                self.tell(self.random.randrange(2**32))
            self.work(self.random.randrange(2**32))
            self.let_leases_pass()
        for _ in range(2):
            self.let_leases_pass()
            self.work_quietly()
        counts = self.inbox.counts()
        assert (counts.waiting, counts.claimed) == (0, 0)
        landed, anchor = self.newest(), self.state().anchor
        for key, told in self.last_told.items():
            if key not in self.source.records:
                assert told is not None or key not in landed, "what was told to be gone lives on"
            elif told is not None and dated_from(anchor, told):
                assert landed[key]["version"] >= told["version"], "an event was lost"

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "inbox"):
                self.inbox.close()
            shutil.rmtree(getattr(self, "inbox_folder", ""), ignore_errors=True)


def _keys(payload: bytes) -> list[str]:
    body = json.loads(payload)["body"]
    keys = body.get("keys", []) if isinstance(body, dict) else body or []
    return [key for key in keys if "/" not in key and key not in ("", ".", "..")]


TestWebhooksConverge = WebhookMachine.TestCase
TestWebhooksConverge.settings = settings(scenarios(50, 0.05), stateful_step_count=20)


# Mistakes that others make, planted one by one


def ended_before_it_landed(patch: pytest.MonkeyPatch) -> None:
    """An event is done as soon as it is understood; what fails or is killed then is lost."""
    land = _Work._land

    def too_early(self: _Work, resource: str, group: Any, binding: Binding) -> None:
        for event, _ in group:
            self._finish(event)
        land(self, resource, group, binding)

    patch.setattr(_Work, "_land", too_early)


def failures_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What could not be asked for is left to the next webhook."""
    patch.setattr(_Work, "_try_again", lambda self, event, error: self._finish(event))


def seen_before(patch: pytest.MonkeyPatch) -> None:
    """An event that looks like an earlier one is taken for its repetition."""
    put = Inbox.put

    def once(self: Inbox, received: Received) -> bool:
        return put(self, replace(received, event_id=received.payload.decode()))

    patch.setattr(Inbox, "put", once)


@pytest.mark.parametrize(
    "plant",
    [ended_before_it_landed, failures_forgotten, seen_before],
    ids=lambda p: p.__name__,
)
def test_a_planted_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError, ExceptionGroup)):
        run_state_machine_as_test(
            WebhookMachine, settings=settings(scenarios(400, 0.02), stateful_step_count=20)
        )
