"""The two syncs of a stream: what is missing is read in windows, and committed as it becomes complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Lock
from typing import Any, Final, Protocol

from makini_provider.api.client import Integration
from makini_provider.api.clock import ServerClock
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import MakiniConfigurationError, NoInitialSyncError
from makini_provider.sync.coverage import STALLED_RUNS, Commit, Generation, StreamState
from makini_provider.sync.cursor_list import ListClient
from makini_provider.sync.destination import Attempt, CommitFacts, Destination
from makini_provider.sync.habits import ServerHabits
from makini_provider.sync.ids import new_id
from makini_provider.sync.partition import partition
from makini_provider.sync.plan import (
    Horizon,
    RunInterval,
    Upstream,
    incremental_window,
    initial_window,
    look_ahead,
)
from makini_provider.sync.progress import Progress
from makini_provider.sync.reading import Reader
from makini_provider.sync.streams import Stream
from makini_provider.sync.walking import Walk
from makini_provider.sync.windows import Window, subtract

log = logging.getLogger(__name__)

DEFAULT_MAX_WINDOW: Final = timedelta(days=30)
RECORDS_PER_COMMIT: Final = 20_000
SECONDS_PER_COMMIT: Final = 300.0
FILES_IN_RECEIPT: Final = 100
_WORTH_CUTTING: Final = timedelta(days=1)
_SKEW_THAT_MATTERS: Final = timedelta(seconds=5)


class SyncClient(ListClient, Protocol):
    """What a sync needs of the API."""

    max_parallel_requests: int

    @property
    def clock(self) -> ServerClock:
        """The server's clock."""
        ...

    @property
    def requests_sent(self) -> int:
        """How many requests have gone out."""
        ...

    def integration(self) -> Integration:
        """Ask for the state of Makini's own sync."""
        ...


class StreamSync:
    """One run's sync of one stream.

    :param client: the API
    :param destination: where records land
    :param stream: what is synced
    :param run_id: tells this run from others; the same for all tries of it
    :param max_window: a longer window is committed in pieces
    :param upstream: the state of Makini's own sync, where it was asked for already in this run; it is not
        asked for again, and no window ends after that moment
    :raises MakiniConfigurationError: the stream can't be synced
    """

    def __init__(
        self,
        client: SyncClient,
        destination: Destination,
        stream: Stream,
        *,
        run_id: str,
        max_window: timedelta = DEFAULT_MAX_WINDOW,
        upstream: Upstream | None = None,
    ) -> None:
        if stream.resource.parent is not None:
            raise MakiniConfigurationError(
                f"resource {stream.resource.name!r} hangs on each record of {stream.resource.parent!r}, and "
                "can't be synced as one list.",
                remedy="Sync the flat list of the same records, 'eam/work-orders/materials', or one parent's "
                f"list by its path: 'path:{stream.resource.path}' with the parent's key in it.",
            )
        self._client = client
        self._destination = destination
        self._stream = stream
        self._run_id = run_id
        self._max_window = max_window
        self._upstream = upstream
        self._progress = Progress(str(stream))
        self._habits = ServerHabits()
        self._written: list[Commit] = []
        self._lock = Lock()
        self._stop = Event()

    def initial(
        self,
        *,
        history: timedelta | None,
        full_refresh: bool = False,
        window_start: datetime | None = None,
        window_end: datetime | None = None,
    ) -> dict[str, Any]:
        """Read the history period, once.

        An initial sync that an earlier try has begun is continued, with its own start and end. After it is
        completed, only what a longer ``history`` adds is read. ``full_refresh`` begins anew, and readers see
        what was there until the new one is complete.

        :param history: how far back; ``None`` for everything. A ``reference`` resource is always read whole,
            since what happens today points to records of any age
        :param full_refresh: read everything again
        :param window_start: takes the place of the start, except for ``reference`` resources
        :param window_end: takes the place of the end, except for ``reference`` resources
        :return: the receipt
        """
        state = self._state()
        if full_refresh:
            generation = state.opened_by(self._run_id)
        else:
            state.check_fingerprint(self._stream)
            generation = state.resumable(self._stream) or state.current
        horizon = self._look_ahead(state, self._ask())
        if self._stream.resource.kind == "reference":
            if window_start or window_end:
                self._habits.note(
                    f"{self._stream}: window_start and window_end have no effect on a reference resource, "
                    "which is always read whole."
                )
            history = window_start = window_end = None
        elif generation and (
            (window_end and window_end != generation.end)
            or (window_start and window_start > generation.start)
        ):
            self._habits.note(
                f"{self._stream}: there is an initial sync from {generation.start} to {generation.end} "
                "already, to which only an earlier window_start adds; full_refresh=True begins a new one."
            )
        target = initial_window(
            history=history, now=horizon.now, window_start=window_start, window_end=window_end
        )
        if generation is None:
            generation = Generation(new_id(), target.start, target.end, self._run_id)
        if self._stream.resource.cursor_field is None:
            missing = state.unread(generation)
            if missing:
                self._snapshot(state, generation, horizon)
            return self._receipt("initial", state, missing)
        reader = self._reader(undated=True)
        missing = state.unread(generation)
        if missing:
            if not state.has_undated(generation):
                self._undated(reader, generation, horizon)
            self._read(reader, missing, generation, horizon)
        if not full_refresh:
            longer = Window(min(target.start, generation.start), generation.end)
            added = subtract(longer, StreamState([*state.commits, *self._written]).coverage)
            added = [w for w in added if w.start < generation.start]
            self._read(reader, added, generation, horizon)
            missing = [*added, *missing]
        return self._receipt("initial", state, missing)

    def incremental(
        self,
        interval: RunInterval,
        *,
        lookback: timedelta,
        window_start: datetime | None = None,
        window_end: datetime | None = None,
    ) -> dict[str, Any]:
        """Read what was created or modified since the last successful sync.

        :param interval: what Airflow says about the run
        :param lookback: how far the start is pulled back
        :param window_start: takes the place of the start
        :param window_end: takes the place of the end
        :return: the receipt
        :raises NoInitialSyncError: no initial sync has been completed
        """
        state = self._state()
        state.check_fingerprint(self._stream)
        if state.current is None or state.watermark is None:
            raise NoInitialSyncError(
                f"{self._stream} has no completed initial sync at "
                f"{self._destination.location(self._stream)}.",
                remedy="Run the initial sync first (the DAG makini_initial_sync, or the "
                "MakiniInitialSyncOperator), or let this one do it: before_initial='initial'.",
            )
        upstream = self._ask()
        horizon = self._look_ahead(state, upstream)
        if self._stream.resource.cursor_field is None:
            self._snapshot(state, state.current, horizon)
            return self._receipt("incremental", state, [])
        window = incremental_window(
            interval,
            watermark=state.watermark,
            lookback=lookback,
            now=horizon.now,
            skew=upstream.skew if abs(upstream.skew) > _SKEW_THAT_MATTERS else timedelta(0),
            window_start=window_start,
            window_end=window_end,
        )
        windows = [window] if window else []
        self._read(self._reader(), windows, state.current, horizon)
        return self._receipt("incremental", state, windows)

    def has_initial(self) -> bool:
        """Whether an initial sync of the stream has been completed."""
        return self._state().current is not None

    # Parts of a sync

    def _state(self) -> StreamState:
        return StreamState(self._destination.commits(self._stream))

    def _ask(self) -> Upstream:
        """Ask for the state of Makini's own sync, unless it is known already."""
        if self._upstream is not None:
            return self._upstream
        integration, clock = self._client.integration(), self._client.clock
        return Upstream(integration, clock.now(), timedelta(seconds=clock.skew()))

    def _look_ahead(self, state: StreamState, upstream: Upstream) -> Horizon:
        horizon = look_ahead(upstream.integration, now=upstream.asked_at, known=state.upstream_completed_at)
        log.info(
            "%s: %s; coverage ends at %s at the latest.", self._stream, horizon.reason, horizon.covered_until
        )
        return horizon

    def _reader(self, *, undated: bool = False) -> Reader:
        return Reader(
            self._client,
            self._stream.resource,
            filters=self._stream.filters,
            undated=undated,
            habits=self._habits,
        )

    def _undated(self, reader: Reader, generation: Generation, horizon: Horizon) -> None:
        with self._attempts() as attempts:
            for batch in reader.records_without_cursor():
                self._progress.count(batch)
                if batch.records:
                    attempts.current.write(batch.records, batch.read_at)
            if attempts.begun:
                self._commit(attempts, generation, horizon, None)

    def _read(
        self, reader: Reader, windows: Iterable[Window], generation: Generation, horizon: Horizon
    ) -> None:
        """Read windows, several at once where they are large."""
        parts = [part for window in windows for part in self._cut(reader, window)]
        if len(parts) < 2:
            for part in parts:
                self._read_window(reader, part, generation, horizon)
            return
        with ThreadPoolExecutor(min(len(parts), self._client.max_parallel_requests)) as threads:
            reads = [
                threads.submit(self._read_window, reader.twin(), part, generation, horizon) for part in parts
            ]
            try:
                done, _ = wait(reads, return_when=FIRST_EXCEPTION)
            finally:
                # Also where this thread is told to end: the others stop at their next batch.
                failed = any(read.done() and not read.cancelled() and read.exception() for read in reads)
                if failed or not all(read.done() for read in reads):
                    self._stop.set()
                for read in reads:
                    read.cancel()
        for read in done:
            read.result()

    def _cut(self, reader: Reader, window: Window) -> list[Window]:
        if window.end - window.start <= _WORTH_CUTTING or not (self._habits.filters and self._habits.sorts):
            return [window]
        return partition(
            window,
            self._client.max_parallel_requests,
            page_size=self._client.page_size,
            count_from=reader.count_from,
        )

    def _read_window(self, reader: Reader, window: Window, generation: Generation, horizon: Horizon) -> None:
        """Read a window, and commit what is complete of it piece by piece."""
        start = window.start
        with self._attempts() as attempts:
            began = time.monotonic()
            for batch in reader.read(window):
                if self._stop.is_set():
                    return
                self._progress.count(batch, window)
                if batch.records:
                    attempts.current.write(batch.records, batch.read_at)
                end = min(batch.complete_before or start, window.end)
                if end <= start:
                    continue
                large = attempts.records >= RECORDS_PER_COMMIT or end - start >= self._max_window
                if end == window.end or large or time.monotonic() - began >= SECONDS_PER_COMMIT:
                    self._commit(attempts, generation, horizon, Window(start, end))
                    start, began = end, time.monotonic()

    def _snapshot(self, state: StreamState, generation: Generation, horizon: Horizon) -> None:
        """Read the whole list as it is; where nothing has changed, the data that is there serves again."""
        resource = self._stream.resource
        before = next((c for c in reversed(state.visible) if c.kind == "snapshot"), None)
        sort = "createdAt" if resource.has_created_at else None
        walk = Walk(
            lambda number, size: self._client.list_page(
                resource, ListQuery(self._stream.filters, sort, page=number, page_size=size)
            ),
            page_size=self._client.page_size,
            wanted=lambda _: True,
            what=resource.name,
        )
        began: datetime | None = None
        with self._attempts() as attempts:
            for batch in walk.batches():
                began = began or batch.read_at
                self._progress.count(batch)
                if batch.records:
                    attempts.current.write(batch.records, batch.read_at)
            same = before if before is not None and before.content == walk.content else None
            self._commit(
                attempts, generation, horizon, None, read_at=began, content=walk.content, same_data_as=same
            )

    @contextmanager
    def _attempts(self) -> Iterator[_Attempts]:
        attempts = _Attempts(self._destination, self._stream)
        try:
            yield attempts
        finally:
            attempts.discard()

    def _commit(
        self,
        attempts: _Attempts,
        generation: Generation,
        horizon: Horizon,
        window: Window | None,
        *,
        read_at: datetime | None = None,
        content: str | None = None,
        same_data_as: Commit | None = None,
    ) -> None:
        facts = CommitFacts(
            kind="window" if content is None else "snapshot",
            generation=generation,
            window=window,
            covered=window.until(horizon.covered_until) if window else None,
            read_at=read_at or horizon.now,
            upstream_completed_at=horizon.upstream_completed_at,
            run_id=self._run_id,
            content=content,
        )
        commit = attempts.take().commit(facts, same_data_as=same_data_as)
        with self._lock:
            self._written.append(commit)
        log.info("%s: committed %s records, %s", self._stream, f"{commit.records:,}", window or commit.kind)

    def _receipt(self, sync: str, before: StreamState, windows: list[Window]) -> dict[str, Any]:
        after = StreamState([*before.commits, *self._written])
        warnings = list(self._habits.notes)
        stalled = after.stalled_runs
        if stalled >= STALLED_RUNS and after.watermark == before.watermark:
            warnings.append(
                f"The watermark has stood at {after.watermark} for {stalled} runs: Makini's own sync has not "
                "completed since. What was read is kept and will be read again."
            )
            log.warning("%s: %s", self._stream, warnings[-1])
        source, progress = self._stream.source, self._progress
        return {
            "sync": sync,
            "stream": {
                "conn_id": source.conn_id,
                "makini_connection": source.makini_connection,
                "resource": self._stream.resource.name,
            },
            "windows": [[w.start.isoformat(), w.end.isoformat()] for w in windows],
            "records": sum(commit.records for commit in self._written),
            "pages": progress.pages,
            "requests": self._client.requests_sent,
            "bytes": progress.bytes,
            "commits": len(self._written),
            "files": [file.path for commit in self._written for file in commit.files][:FILES_IN_RECEIPT],
            "location": self._destination.location(self._stream),
            "watermark": after.watermark.astimezone(UTC).isoformat() if after.watermark else None,
            "seconds": round(progress.seconds, 1),
            "warnings": warnings,
        }


class _Attempts:
    """The attempt that records go to; begun when the first comes, or when there is something to commit."""

    def __init__(self, destination: Destination, stream: Stream) -> None:
        self._destination = destination
        self._stream = stream
        self._attempt: Attempt | None = None

    @property
    def begun(self) -> bool:
        return self._attempt is not None

    @property
    def records(self) -> int:
        return self._attempt.records if self._attempt else 0

    @property
    def current(self) -> Attempt:
        if self._attempt is None:
            self._attempt = self._destination.begin(self._stream)
        return self._attempt

    def take(self) -> Attempt:
        """Hand the attempt over; the next record begins another."""
        attempt, self._attempt = self.current, None
        return attempt

    def discard(self) -> None:
        if self._attempt is not None:
            self._attempt.discard()
