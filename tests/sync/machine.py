"""The behaviour that every destination has to show, as a state machine that tries hard to break it.

A source changes between any two requests; any request may fail, the writer may die at any write, runs come in
any order and inside each other. At any moment the watermark must tell the truth, and after a last quiet run
the destination must equal the source.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from makini_provider.api.client import Integration
from makini_provider.api.errors import (
    MakiniConnectionError,
    MakiniProtocolError,
    MakiniServerError,
    NoInitialSyncError,
    UnstableReadError,
)
from makini_provider.api.resources import get_resource
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream
from tests.sync.model import DAY, MICROSECOND, SECOND, Habits, ModelClient, ModelSource, cut

LOOKBACK = timedelta(hours=1)
STREAM = Stream(Source("makini_default"), get_resource("eam/work-orders"))

SCENARIOS = int(os.environ.get("MAKINI_TESTS_SCENARIOS", "0"))
"""How many random scenarios all machines run together; by default some hundred, the same each time."""


def scenarios(few: int, share: float) -> settings:
    """Settings of a machine.

    :param few: how many scenarios it runs by default
    :param share: its part of all random ones
    """
    return settings(
        max_examples=math.ceil(SCENARIOS * share) if SCENARIOS else few,
        derandomize=not SCENARIOS,
        database=None,
        stateful_step_count=12,
        deadline=None,
        # A scenario is told by its steps; to make it the smallest one takes many minutes.
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


seeds = st.integers(0, 2**32 - 1)
durations = st.sampled_from([timedelta(hours=2), timedelta(days=2), timedelta(days=40)])


class Killed(BaseException):
    """The process is gone: nothing that it would still have done happens."""


class SyncMachine(RuleBasedStateMachine):
    """Runs against a source that changes; a destination's own test fills in the first three methods."""

    lookback: ClassVar[timedelta] = LOOKBACK
    lag: ClassVar[bool] = False
    """Whether Makini itself shows changes late."""
    parallel: ClassVar[int] = 1
    """How many parts of a window are read side by side."""

    def make_destination(self) -> Any:
        raise NotImplementedError

    def newest(self) -> Mapping[str, Mapping[str, Any]]:
        """The newest version of each record that a reader sees, by key."""
        raise NotImplementedError

    def killing(self, operation: int, *, after: bool) -> Any:
        """The destination, in a process that dies at its so-many-th write."""
        raise NotImplementedError

    def vacuum(self) -> None:
        """Remove what no reader needs, if the destination does such."""

    @initialize(
        seed=seeds,
        size=st.integers(0, 30),
        page_size=st.integers(1, 6),
        cut_pages=st.booleans(),
        precision=st.sampled_from([MICROSECOND, MICROSECOND, SECOND, DAY]),
        sort_precision=st.sampled_from([MICROSECOND, MICROSECOND, SECOND, DAY]),
        unstable=st.booleans(),
        ignored=st.sampled_from(["", "", "", "", "filters", "sorts", "both"]),
        natural=st.sampled_from(["key", "cursor", "newest", "none"]),
        plain_dates=st.sampled_from([False, False, False, True]),
        undated=st.integers(0, 2),
        skew=st.sampled_from([0, 0, 0, -7, 7]),
    )
    def start(self, **drawn: Any) -> None:
        random = Random(drawn["seed"])
        self.random = random
        self.source = ModelSource(random)
        self.destination = self.make_destination()
        self.page_size: int = drawn["page_size"]
        self.skew = timedelta(minutes=drawn["skew"])
        self.runs = 0
        self.seen_watermark: tuple[str, datetime] | None = None
        self.pending: list[Callable[[], None]] = []
        self.upstream = self.completed = Integration("done", self.source.now, {})
        for _ in range(drawn["size"]):
            self.source.insert(self.source.now - timedelta(days=60) * random.random() ** 3)
        self.source.import_many(random.choice([0, 0, 3, 12]))
        for _ in range(drawn["undated"]):
            self.source.write(f"U{random.randrange(10**6)}", None)
        self.source.habits = Habits(
            most_per_page=3 if drawn["cut_pages"] else 1000,
            precision=drawn["precision"],
            sort_precision=drawn["sort_precision"],
            unstable=drawn["unstable"],
            filters=drawn["ignored"] not in ("filters", "both"),
            sorts=drawn["ignored"] not in ("sorts", "both"),
            plain_dates=drawn["plain_dates"],
            natural=drawn["natural"],
        )
        if drawn["plain_dates"]:
            self.source.habits.precision = DAY

    # What happens at the source

    @rule(count=st.integers(1, 6))
    def change(self, count: int) -> None:
        for _ in range(count):
            self.mutate()

    @rule(count=st.integers(2, 15))
    def import_many(self, count: int) -> None:
        self.source.import_many(count)

    @rule(minutes=st.sampled_from([1, 30, 90, 1500, 44_000]))
    def pass_time(self, minutes: int) -> None:
        self.source.now += timedelta(minutes=minutes)

    def mutate(self) -> None:
        """One change; shown at once, or when Makini pulls it."""
        self.source.mutate()

    # Runs

    @rule(history=durations, everything=st.booleans(), trouble=seeds)
    def initial(self, history: timedelta, everything: bool, trouble: int) -> None:
        self.run(lambda sync: sync.initial(history=None if everything else history), trouble)

    @rule(trouble=seeds)
    def full_refresh(self, trouble: int) -> None:
        self.run(lambda sync: sync.initial(history=timedelta(days=10), full_refresh=True), trouble)

    @rule(
        schedule=st.sampled_from([timedelta(hours=1), timedelta(hours=1), timedelta(minutes=15), DAY]),
        intervals_ago=st.integers(0, 30),
        trouble=seeds,
    )
    def scheduled(self, schedule: timedelta, intervals_ago: int, trouble: int) -> None:
        """A run of this interval: the next one, a late one, a cleared one, one of a backfill."""
        airflows_now = self.source.now - self.skew
        end = cut(airflows_now, schedule) - intervals_ago * schedule
        interval = RunInterval(end - schedule, end, end - schedule, scheduled=True)
        self.run(lambda sync: sync.incremental(interval, lookback=self.lookback), trouble)

    @rule(trouble=seeds)
    def triggered(self, trouble: int) -> None:
        self.run(self.up_to_now, trouble)

    @rule(start=st.integers(1, 3000), width=st.integers(1, 3000), trouble=seeds)
    def window(self, start: int, width: int, trouble: int) -> None:
        begin = self.source.now - timedelta(minutes=start)
        end = begin + timedelta(minutes=width)
        self.run(
            lambda sync: sync.incremental(
                RunInterval(), lookback=self.lookback, window_start=begin, window_end=end
            ),
            trouble,
        )

    @rule()
    def remove_garbage(self) -> None:
        self.vacuum()

    def up_to_now(self, sync: StreamSync) -> dict[str, Any]:
        return sync.incremental(RunInterval(scheduled=False), lookback=self.lookback)

    def run(self, act: Callable[[StreamSync], Any], trouble: int) -> None:
        """A run in which much can go wrong."""
        random = Random(trouble)
        rate = random.choice([0, 0, 0.3, 1])
        fail_at = random.choice([0, 0, 0, random.randint(1, 12)])
        other_at = random.choice([0, 0, 0, random.randint(1, 8)])
        destination = self.destination
        if random.random() < 0.3:
            # Most runs write little: a death far off would seldom come.
            operation = random.randint(1, random.choice([2, 4, 12]))
            destination = self.killing(operation, after=random.random() < 0.5)

        def before_request(number: int) -> None:
            # A source that grows faster than it is read has no end.
            while number <= 60 and random.random() < rate * 0.6:
                self.mutate()
            if number == other_at:
                self.attempt(random.choice([self.up_to_now, lambda s: s.initial(history=DAY)]), self.client())
            if number == fail_at:
                raise random.choice([MakiniServerError, MakiniConnectionError, MakiniProtocolError])("fault")

        self.attempt(act, self.client(before_request), destination)

    def attempt(
        self, act: Callable[[StreamSync], Any], client: ModelClient, destination: Any = None
    ) -> Exception | None:
        self.runs += 1
        sync = StreamSync(
            client,
            destination or self.destination,
            STREAM,
            run_id=f"run {self.runs}",
            max_window=self.random.choice([timedelta(hours=3), timedelta(days=5), timedelta(days=365)]),
        )
        try:
            act(sync)
        except Killed:
            return None
        except (MakiniServerError, MakiniConnectionError, MakiniProtocolError) as error:
            return error
        except (NoInitialSyncError, UnstableReadError) as error:
            return error
        return None

    def client(self, before_request: Callable[[int], None] = lambda number: None) -> ModelClient:
        return ModelClient(
            self.source,
            page_size=self.page_size,
            before_request=before_request,
            integration=self.integration,
            parallel=self.parallel,
            skew=self.skew,
        )

    def integration(self) -> Integration:
        """What Makini says of its own sync."""
        return Integration(None, None, {})

    # What must hold

    def state(self) -> StreamState:
        return StreamState(self.destination.commits(STREAM))

    def missing(self, before: datetime) -> list[str]:
        """Records that the source shows, dated from the anchor to ``before``, and the destination has not."""
        landed, anchor = self.newest(), self.state().anchor
        return [
            key
            for key, row in self.source.records.items()
            if dated_from(anchor, row)
            and datetime.fromisoformat(row["updatedAt"]) < before
            and (key not in landed or landed[key]["version"] < row["version"])
        ]

    @precondition(lambda self: hasattr(self, "destination"))
    @invariant()
    def the_watermark_tells_the_truth(self) -> None:
        state = self.state()
        if state.watermark is None or state.current is None:
            return
        assert state.watermark <= self.source.now
        assert self.missing(state.watermark - (LOOKBACK if self.lag else timedelta(0))) == []
        if self.seen_watermark and self.seen_watermark[0] == state.current.id:
            assert state.watermark >= self.seen_watermark[1], "the watermark went back"
        self.seen_watermark = (state.current.id, state.watermark)

    def settle(self) -> None:
        """Let everything that is on its way arrive at Makini."""

    def teardown(self) -> None:
        if not hasattr(self, "destination"):
            return
        self.settle()
        self.source.now += timedelta(seconds=2)
        quiet = [self.up_to_now]
        if self.state().current is None:
            quiet.insert(0, lambda sync: sync.initial(history=None))
        for act in quiet:
            error = self.attempt(act, self.client())
            assert error is None, f"a quiet run failed: {error}"
        assert self.missing(self.source.now) == []
        landed = self.newest()
        assert set(landed) <= set(self.source.records) | self.source.deleted, "records that never were"
        anchor = self.state().anchor
        for key in set(landed) & set(self.source.records):
            if dated_from(anchor, self.source.records[key]):
                assert landed[key] == self.source.records[key]
        if anchor == datetime(1970, 1, 1, tzinfo=UTC):
            assert {k for k, r in self.source.records.items() if r["updatedAt"] is None} <= set(landed)


class LaggingMachine(SyncMachine):
    """The same, where Makini pulls from the connected system now and then, and says so."""

    lag = True

    def mutate(self) -> None:
        if self.random.random() < 0.15:
            self.pull_now(self.random.choice(["done", "fulldone", "error"]), self.random.randint(1, 40))
        self.change_in_the_source_system()

    def change_in_the_source_system(self) -> None:
        """Dated now, shown when it is pulled."""
        at, change = self.source.tick(), self.random.choices(["update", "insert", "delete"], [5, 3, 1])[0]
        self.pending.append(lambda: self._arrive(at, change))

    def _arrive(self, at: datetime, change: str) -> None:
        records = self.source.records
        if change == "insert" or not records:
            self.source.insert(at)
            return
        key = self.random.choice(list(records))
        if change == "delete":
            self.source.hard_delete()
        elif records[key]["updatedAt"] is not None and datetime.fromisoformat(records[key]["updatedAt"]) < at:
            self.source.write(key, at)

    @rule(ends=st.sampled_from(["done", "fulldone", "error", "inprogress"]), minutes=st.integers(1, 40))
    def pull(self, ends: str, minutes: int) -> None:
        self.pull_now(ends, minutes)

    def pull_now(self, ends: str, minutes: int) -> None:
        """Makini's own sync pulls, goes on for a while, and ends; what changes meanwhile comes next time."""
        arriving, self.pending = self.pending, []
        for arrive in arriving:
            arrive()
        self.upstream = Integration("inprogress", self.source.now, {})
        for _ in range(self.random.randint(1, 3)):
            self.source.now += timedelta(minutes=minutes / 4)
            self.change_in_the_source_system()
        self.source.now += timedelta(minutes=minutes / 4)
        self.upstream = Integration(ends, self.source.now, {})
        if ends in ("done", "fulldone"):
            self.completed = self.upstream

    def integration(self) -> Integration:
        # Before a run has seen a completed sync, nothing but the lookback protects; that is no promise.
        return self.completed if self.state().upstream_completed_at is None else self.upstream

    def settle(self) -> None:
        self.pull_now("done", 1)
        self.source.now += LOOKBACK / 2
        self.pull_now("done", 1)
        self.pending.clear()


def dated_from(anchor: datetime | None, row: Mapping[str, Any]) -> bool:
    """Whether a record is one that the destination promises to have."""
    if anchor is None or row["updatedAt"] is None:
        return False
    return datetime.fromisoformat(row["updatedAt"]) >= anchor


def newest_of(rows: list[bytes]) -> dict[str, dict[str, Any]]:
    """Records by key."""
    return {row["key"]: row for row in map(json.loads, rows)}
