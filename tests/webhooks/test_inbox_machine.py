"""Any order of puts, claims, failures, deaths and restarts: nothing vanishes, nothing is done twice.

The model is what the inbox promises, without a database: a list. Each step is done to both and must come to
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from makini_provider.api.errors import LeaseLostError
from makini_provider.webhooks.inbox import Counts, Event, Inbox

from .events import claim, let_time_pass, received

MAX_ATTEMPTS = 3

CONTENTS = st.sampled_from([b"1", b"2"])
EVENT_IDS = st.sampled_from([None, None, "E-1", "E-2", "E-3"])
ENDPOINTS = st.sampled_from(["plant", "other"])
WORKERS = st.sampled_from(["w1", "w2"])


@dataclass
class Kept:
    """An event as the model has it."""

    content: tuple[str, bytes, str | None]
    state: str = "waiting"
    attempts: int = 0
    unclaimed: bool = True
    due: bool = True
    lease: str | None = None
    id: str | None = None
    last_claimed: int = 0
    times_done: int = 0


class InboxMachine(RuleBasedStateMachine):
    new_database: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.url = self.new_database()
        self.inbox = Inbox(self.url, max_attempts=MAX_ATTEMPTS)
        self.kept: list[Kept] = []
        self.updates: list[tuple[int, tuple[str, bytes, str | None]]] = []
        self.hands: dict[str, list[Event]] = {"w1": [], "w2": []}
        self.step = 0

    # What may happen

    @rule(endpoint=ENDPOINTS, content=CONTENTS, event_id=EVENT_IDS)
    def put(self, endpoint: str, content: bytes, event_id: str | None) -> None:
        self.step += 1
        identity = (endpoint, content, event_id)
        new = not any(
            kept.content[::2] == identity[::2] if event_id else kept.content == identity and kept.unclaimed
            for kept in self.kept
        )
        assert self.inbox.put(received(content, endpoint=endpoint, event_id=event_id)) is new
        if new:
            self.kept.append(Kept(identity))
        if not event_id:
            self.updates.append((self.step, identity))

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        self.step += 1
        events = claim(self.inbox, limit)
        due = [kept for kept in self.kept if kept.due]
        exhausted = [kept for kept in due if kept.attempts >= MAX_ATTEMPTS]
        assert len(events) <= limit
        # Of what dead workers have left behind fewer are claimed, and at least one.
        least = 1 if any(kept.state == "claimed" for kept in due) else limit
        assert len(events) + len(exhausted) >= min(least, len(due))
        for event in events:
            kept = self._of(event)
            assert kept.due
            assert kept.attempts < MAX_ATTEMPTS
            kept.state, kept.due, kept.unclaimed = "claimed", False, False
            kept.attempts += 1
            kept.lease, kept.id, kept.last_claimed = event.lease, event.id, self.step
            assert event.attempts == kept.attempts
        self._bury(exhausted)
        self.hands[worker] += events

    @precondition(lambda self: any(self.hands.values()))
    @rule(data=st.data(), how=st.sampled_from(["done", "done", "retry", "retry at once", "dead"]))
    def end(self, data: st.DataObject, how: str) -> None:
        worker = data.draw(st.sampled_from([name for name, events in self.hands.items() if events]))
        event = data.draw(st.sampled_from(self.hands[worker]))
        self.hands[worker].remove(event)
        kept = self._of(event)
        act: dict[str, Callable[[], Any]] = {
            "done": lambda: self.inbox.done(event),
            "retry": lambda: self.inbox.retry(event, "busy"),
            "retry at once": lambda: self.inbox.retry(event, "busy", delay=timedelta()),
            "dead": lambda: self.inbox.dead(event, "no"),
        }
        if kept.lease != event.lease:
            with pytest.raises(LeaseLostError):
                act[how]()
            return
        act[how]()
        kept.lease, kept.due = None, False
        if how == "done":
            kept.state, kept.times_done = "done", kept.times_done + 1
        elif how == "dead" or event.attempts >= MAX_ATTEMPTS:
            kept.state = "dead"
        else:
            kept.state, kept.due = "waiting", how == "retry at once"

    @rule()
    def time_passes(self) -> None:
        """Leases and pauses are over."""
        let_time_pass(self.url)
        for kept in self.kept:
            kept.due = kept.state in ("waiting", "claimed")

    @rule(worker=WORKERS)
    def worker_dies(self, worker: str) -> None:
        self.hands[worker].clear()

    @rule()
    def restart(self) -> None:
        self.inbox.close()
        self.inbox = Inbox(self.url, max_attempts=MAX_ATTEMPTS)

    @rule(endpoint=st.one_of(st.none(), ENDPOINTS))
    def replay(self, endpoint: str | None) -> None:
        dead = [k for k in self.kept if k.state == "dead" and endpoint in (None, k.content[0])]
        assert self.inbox.replay(endpoint=endpoint) == len(dead)
        for kept in dead:
            kept.state, kept.attempts, kept.due = "waiting", 0, True

    # What always holds

    @invariant()
    def nothing_vanishes(self) -> None:
        states = [kept.state for kept in self.kept]
        counts = self.inbox.counts()
        assert counts == Counts(
            waiting=states.count("waiting"),
            claimed=states.count("claimed"),
            dead=states.count("dead"),
            done=states.count("done"),
            oldest=counts.oldest,
        )
        assert (counts.oldest is None) == (not {"waiting", "claimed"} & set(states))
        assert self.inbox.waiting() is any(kept.due for kept in self.kept)

    def teardown(self) -> None:
        """In the end everything was worked off, each update by a claim that came after it."""
        try:
            while any(kept.state in ("waiting", "claimed") for kept in self.kept):
                self.time_passes()
                self.claim("w1", 3)
                for event in self.hands["w1"]:
                    kept = self._of(event)
                    if kept.lease == event.lease:
                        self.inbox.done(event)
                        kept.lease, kept.due = None, False
                        kept.state, kept.times_done = "done", kept.times_done + 1
                self.hands["w1"].clear()
            self.nothing_vanishes()
            assert all(kept.times_done == (kept.state == "done") for kept in self.kept)
            ids = [kept.content[::2] for kept in self.kept if kept.content[2]]
            assert len(ids) == len(set(ids))
            for at, identity in self.updates:
                assert any(kept.content == identity and kept.last_claimed > at for kept in self.kept)
        finally:
            self.inbox.close()

    # How the model finds its way

    def _of(self, event: Event) -> Kept:
        content = (event.endpoint, event.payload, event.event_id)
        candidates = [kept for kept in self.kept if kept.content == content]
        known = [kept for kept in candidates if kept.id == event.id]
        # An event gets its id at the first claim; those not claimed yet are the unclaimed ones.
        (found,) = known or [kept for kept in candidates if kept.id is None]
        return found

    def _bury(self, exhausted: list[Kept]) -> None:
        """The limit decides how many of them the claim has come across."""
        dead = {letter.id for letter in self.inbox.dead_letters()}
        for kept in exhausted:
            if kept.id in dead:
                kept.state, kept.due, kept.lease = "dead", False, None


def test_any_order_of_events_keeps_the_promises(new_database: Callable[[], str]) -> None:
    machine = type("Machine", (InboxMachine,), {"new_database": staticmethod(new_database)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=12, stateful_step_count=30, deadline=None)
    )
