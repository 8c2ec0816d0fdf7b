"""Two days in the life of a Makini that shows changes late, each lost by a sync that trusts it."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from makini_provider.api.client import Integration
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.run import StreamSync
from tests.sync.machine import LOOKBACK, STREAM
from tests.sync.memory import MemoryDestination
from tests.sync.model import ModelClient, ModelSource

MINUTE = timedelta(minutes=1)


class Day:
    """A source, the state of Makini's own sync with it, and a destination."""

    def __init__(self) -> None:
        self.source = ModelSource(Random(1))
        self.start = self.source.now
        self.state = Integration("done", self.start, {})
        self.destination = MemoryDestination()
        self.runs = 0
        for age in range(1, 8):
            self.source.insert(self.start - age * timedelta(days=1))
        self.sync(lambda sync: sync.initial(history=timedelta(days=30)))

    def at(self, minutes: float) -> datetime:
        return self.start + minutes * MINUTE

    def done(self, minutes: float) -> None:
        """Makini's own sync completes at that minute."""
        self.source.now = max(self.source.now, self.at(minutes))
        self.state = Integration("done", self.at(minutes), {})

    def incremental(self, lookback: timedelta = LOOKBACK, before_request=lambda number: None) -> None:  # type: ignore[no-untyped-def]
        self.sync(
            lambda sync: sync.incremental(RunInterval(scheduled=False), lookback=lookback), before_request
        )

    def sync(self, act, before_request=lambda number: None) -> None:  # type: ignore[no-untyped-def]
        self.runs += 1
        client = ModelClient(
            self.source, page_size=2, before_request=before_request, integration=lambda: self.state
        )
        act(StreamSync(client, self.destination, STREAM, run_id=f"run {self.runs}"))

    @property
    def watermark(self) -> datetime | None:
        return StreamState(self.destination.committed).watermark

    def assert_landed(self, key: str) -> None:
        assert key in self.destination.newest(), f"{key} is lost"


def changed_while_makini_pulls(lookback: timedelta = LOOKBACK) -> None:
    """A record is changed after Makini has pulled and before it says "done"."""
    day = Day()
    day.done(40)
    day.source.now = day.at(45)
    day.incremental(lookback)
    key = day.source.insert(day.at(12))
    day.done(75)
    day.source.now = day.at(80)
    day.incremental(lookback)
    day.assert_landed(key)


def arrives_behind_the_reader() -> None:
    """While pages are read, Makini completes a sync that brings something older than what was read."""
    day = Day()
    for minute in range(1, 170, 20):
        day.source.insert(day.at(minute + 0.5))
    day.source.now = day.at(175)
    arrived: list[str] = []

    def before_request(number: int) -> None:
        if number == 8:
            arrived.append(day.source.insert(day.at(5)))
            day.done(180)

    day.incremental(before_request=before_request)
    assert arrived, "the read was over too early to show anything"
    day.source.now = day.at(190)
    day.incremental()
    day.assert_landed(arrived[0])
