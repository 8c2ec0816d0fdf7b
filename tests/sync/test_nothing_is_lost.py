"""Nothing is lost: the state machine over a destination in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from makini_provider.api.records import Record
from makini_provider.sync import partition
from makini_provider.sync.coverage import Commit
from makini_provider.sync.destination import CommitFacts
from makini_provider.sync.streams import Stream
from tests.sync.machine import Killed, LaggingMachine, SyncMachine, newest_of, scenarios
from tests.sync.memory import MemoryAttempt, MemoryDestination


class _Memory:
    destination: MemoryDestination

    def make_destination(self) -> MemoryDestination:
        return MemoryDestination()

    def newest(self) -> dict[str, dict[str, Any]]:
        return newest_of([record.raw for record in self.destination.newest().values()])

    def killing(self, operation: int, *, after: bool) -> Any:
        return _DyingDestination(self.destination, operation, after=after)


class InMemory(_Memory, SyncMachine):
    pass


class InMemoryLagging(_Memory, LaggingMachine):
    pass


class InMemoryParallel(_Memory, SyncMachine):
    parallel = 3


class _DyingDestination(MemoryDestination):
    """The same data, in a process that dies at a write."""

    def __init__(self, destination: MemoryDestination, operation: int, *, after: bool) -> None:
        self.committed, self.data = destination.committed, destination.data
        self.left = operation
        self.after = after

    def begin(self, stream: Stream) -> MemoryAttempt:
        return _DyingAttempt(self, stream)

    def die(self, *, after: bool) -> None:
        if after == self.after:
            self.left -= 1
        if self.left <= 0 and after == self.after:
            raise Killed


class _DyingAttempt(MemoryAttempt):
    _destination: _DyingDestination

    def write(self, records: Sequence[Record], read_at: datetime) -> None:
        self._destination.die(after=False)
        super().write(records, read_at)
        self._destination.die(after=True)

    def commit(self, facts: CommitFacts, *, same_data_as: Commit | None = None) -> Commit:
        self._destination.die(after=False)
        commit = super().commit(facts, same_data_as=same_data_as)
        self._destination.die(after=True)
        return commit


@pytest.fixture(autouse=True)
def _a_few_pages_are_worth_a_part_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "LEAST_PAGES_EACH", 1)


TestNothingIsLost = InMemory.TestCase
TestNothingIsLost.settings = scenarios(250, 0.35)
TestNothingIsLostWhileMakiniLags = InMemoryLagging.TestCase
TestNothingIsLostWhileMakiniLags.settings = scenarios(200, 0.25)
TestNothingIsLostInParallel = InMemoryParallel.TestCase
TestNothingIsLostInParallel.settings = scenarios(80, 0.15)
