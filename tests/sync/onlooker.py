"""A reader who remembers what it saw, and never wants to see less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import datetime, timedelta
from typing import Any

from makini_provider.api.errors import MakiniDestinationError
from makini_provider.destinations.files.destination import read_commits
from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.store import Store
from makini_provider.sync.coverage import StreamState
from tests.sync.machine import newest_of


class Onlooker:
    """Looks at one stream again and again.

    :param folder: of the stream
    :param changed: when the source changed each of its records last, by key
    :param deleted: the keys of records that were deleted
    :param snapshots: the stream is one of snapshots
    :param lenient: vacuum's grace period is too short: files may go while they are read, and commits again
    """

    def __init__(
        self,
        folder: str,
        changed: Callable[[], Mapping[str, datetime]],
        deleted: Set[str],
        *,
        snapshots: bool = False,
        lenient: bool = False,
    ) -> None:
        self.looks = 0
        self._folder = folder
        self._changed = changed
        self._deleted = deleted
        self._snapshots = snapshots
        self._lenient = lenient
        self._seen: dict[str, dict[str, Any]] = {}
        self._watermark: datetime | None = None
        self._generation: str | None = None

    def look(self, store: Store) -> None:
        """Look once; nothing that was seen is gone or older, and the watermark has not gone back.

        A full refresh may set it back by the second to which each process knows the server's clock: a sync
        that began just after it may seem to have begun before, and does not count.
        """
        self.looks += 1
        try:
            before = StreamState(read_commits(store, self._folder))
            if before.current is None:
                return
            records = newest_of(list(newest_records(store, self._folder)))
            after = StreamState(read_commits(store, self._folder))
        except MakiniDestinationError:
            if not self._lenient:
                raise
            return
        if self._lenient:
            return
        assert before.watermark is not None
        # A full refresh, and a snapshot, are as old as their beginning: what changed since is the next run's.
        same = before.current == after.current and before.current.id == self._generation
        least = self._watermark if same or self._watermark is None else self._watermark - timedelta(seconds=1)
        assert least is None or before.watermark >= least, "the watermark went back"
        self._watermark = before.watermark
        next_run = set(self._deleted)
        if not same or self._snapshots:
            next_run |= {key for key, at in self._changed().items() if at >= before.watermark}
        vanished = self._seen.keys() - records.keys() - next_run
        assert not vanished, "records that were visible have vanished"
        older = [
            key
            for key in records.keys() & self._seen.keys() - next_run
            if records[key]["updatedAt"] < self._seen[key]["updatedAt"]
        ]
        assert not older, "a reader sees an older version than before"
        self._seen = records
        self._generation = before.current.id if before.current == after.current else None
