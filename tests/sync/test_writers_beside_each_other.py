"""Writers, vacuum and readers beside each other, interleaved at every step: nobody loses or sees less."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given

from makini_provider.api.errors import MakiniDestinationError, NoInitialSyncError, UnstableReadError
from makini_provider.api.resources import get_resource
from makini_provider.destinations.files import vacuum as vacuum_module
from makini_provider.destinations.files.destination import FilesDestination, read_commits
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.vacuum import vacuum
from makini_provider.sync import ids
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream
from tests.sync.machine import dated_from, newest_of, scenarios, seeds
from tests.sync.model import ModelClient, ModelSource
from tests.sync.onlooker import Onlooker
from tests.sync.turns import SteppedStore, Turns

HOUR = timedelta(hours=1)
WORK_ORDERS = Stream(Source("makini_default"), get_resource("eam/work-orders"))
CUSTOM_FIELDS = Stream(Source("makini_default"), get_resource("eam/work-orders/custom-fields"))
EXPECTED = (NoInitialSyncError, UnstableReadError)


class World:
    """A source, a destination of one stream, and a reader.

    :param seed: of all that happens by chance
    :param stream: what is synced
    :param grace: of vacuum; what is done beside it takes less than an hour
    """

    def __init__(self, seed: int, stream: Stream, grace: timedelta) -> None:
        self.random = Random(seed)
        self.stream = stream
        self.grace = grace
        self.source = ModelSource(self.random)
        for _ in range(self.random.randint(1, 25)):
            self.source.insert(self.source.now - timedelta(days=60) * self.random.random() ** 3)
        self.folder = tempfile.mkdtemp()
        self.quiet = FilesDestination(f"file://{self.folder}", compression="none")
        self.onlooker = Onlooker(
            stream_folder(stream),
            self.changed,
            self.source.deleted,
            snapshots=stream is CUSTOM_FIELDS,
            lenient=grace < HOUR,
        )
        self.runs = 0

    def round(self) -> None:
        """Some actors beside each other, and a reader."""
        start, random = self.source.now, self.random
        turns = Turns(random, loyalty=random.choice([0.2, 0.8, 0.97]), between=self.pass_time)
        acts = random.choices(
            [self.up_to_now, self.backfill, self.initial, self.full_refresh, self.vacuum],
            [4, 3, 1, 2, 3],
            k=random.randint(2, 4),
        )
        turns.run(
            *(self.act(act, turns) for act in acts),
            beside=lambda: self.onlooker.look(SteppedStore(self.quiet.store, turns.step)),
        )
        assert self.source.now - start < HOUR, "the round took longer than the grace period"

    def pass_time(self) -> None:
        self.source.now += timedelta(seconds=self.random.random())

    # What happens beside each other

    def act(self, act: Callable[[Turns], object], turns: Turns) -> Callable[[], None]:
        def run() -> None:
            try:
                act(turns)
            except EXPECTED:
                pass
            except MakiniDestinationError:
                # Vacuum took away what was being written: an error that a retry mends.
                if self.grace >= HOUR:
                    raise

        return run

    def sync(self, turns: Turns) -> StreamSync:
        def before_request(number: int) -> None:
            turns.step()
            if number <= 40 and self.random.random() < 0.3:
                self.source.mutate()

        destination = FilesDestination(f"file://{self.folder}", compression="none")
        destination.store = SteppedStore(destination.store, turns.step)
        return self.sync_to(destination, before_request)

    def sync_to(
        self, destination: FilesDestination, before_request: Callable[[int], None] = lambda number: None
    ) -> StreamSync:
        self.runs += 1
        client = ModelClient(self.source, page_size=self.random.randint(2, 6), before_request=before_request)
        window = self.random.choice([timedelta(days=5), timedelta(days=365)])
        return StreamSync(client, destination, self.stream, run_id=f"run {self.runs}", max_window=window)

    def up_to_now(self, turns: Turns) -> None:
        self.sync(turns).incremental(RunInterval(scheduled=False), lookback=HOUR)

    def backfill(self, turns: Turns) -> None:
        start = self.source.now - timedelta(days=self.random.randint(1, 60))
        self.sync(turns).incremental(
            RunInterval(),
            lookback=HOUR,
            window_start=start,
            window_end=start + timedelta(days=self.random.randint(1, 20)),
        )

    def initial(self, turns: Turns) -> None:
        self.sync(turns).initial(history=None)

    def full_refresh(self, turns: Turns) -> None:
        self.sync(turns).initial(history=None, full_refresh=True)

    def vacuum(self, turns: Turns) -> None:
        vacuum(SteppedStore(self.quiet.store, turns.step), grace=self.grace)

    # What must hold

    def changed(self) -> dict[str, datetime]:
        return {key: datetime.fromisoformat(row["updatedAt"]) for key, row in self.source.records.items()}

    def settle(self) -> None:
        """A last quiet run brings everything; no commit names data that is not there."""
        store, folder = self.quiet.store, stream_folder(self.stream)
        self.source.now += timedelta(seconds=2)
        if StreamState(read_commits(store, folder)).current is None:
            self.sync_to(self.quiet).initial(history=None)
        self.sync_to(self.quiet).incremental(RunInterval(scheduled=False), lookback=HOUR)
        commits = read_commits(store, folder)
        gone = [
            file.path
            for commit in commits
            for file in commit.files
            if not self.exists(f"{folder}/{file.path}")
        ]
        assert not gone, "a commit names data that is gone"
        state, landed = StreamState(commits), newest_of(list(newest_records(store, folder)))
        wanted = {
            key: row
            for key, row in self.source.records.items()
            if self.stream is CUSTOM_FIELDS or dated_from(state.anchor, row)
        }
        assert {key: landed.get(key) for key in wanted} == wanted
        assert landed.keys() <= wanted.keys() | self.source.deleted

    def exists(self, name: str) -> bool:
        path = self.quiet.store.root / name
        return bool(path.exists())


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def play(seed: int, stream: Stream, grace: timedelta) -> None:
    world = World(seed, stream, grace)
    with pytest.MonkeyPatch.context() as patch:
        # All clocks show the source's time.
        patch.setattr(ids, "_last", 0)
        patch.setattr(ids.time, "time_ns", lambda: int(world.source.now.timestamp() * 1e9))
        patch.setattr(vacuum_module.time, "time", lambda: world.source.now.timestamp())
        try:
            if world.random.random() < 0.8:
                world.sync_to(world.quiet).initial(history=None)
            for _ in range(world.random.randint(1, 4)):
                world.round()
                world.source.now += world.random.choice([timedelta(minutes=1), 3 * HOUR, timedelta(days=3)])
                world.onlooker.look(world.quiet.store)
            world.settle()
        finally:
            shutil.rmtree(world.folder, ignore_errors=True)


@pytest.mark.parametrize("stream", [WORK_ORDERS, CUSTOM_FIELDS], ids=["windows", "snapshots"])
@scenarios(30, 0.005)
@given(seed=seeds)
def test_readers_are_right_at_any_moment_and_nothing_is_lost(stream: Stream, seed: int) -> None:
    play(seed, stream, grace=HOUR)


@pytest.mark.parametrize("stream", [WORK_ORDERS, CUSTOM_FIELDS], ids=["windows", "snapshots"])
@scenarios(30, 0.005)
@given(seed=seeds)
def test_a_grace_period_that_is_too_short_costs_a_retry_and_no_record(stream: Stream, seed: int) -> None:
    play(seed, stream, grace=timedelta(0))
