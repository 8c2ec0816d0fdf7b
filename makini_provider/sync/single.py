"""Single records, asked for by their keys: what a webhook's hint leads to."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import msgspec

from makini_provider.api.clock import ServerClock
from makini_provider.api.dialects import ListQuery, Page
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniError,
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniProtocolError,
    MakiniServerError,
    MakiniStatusError,
    MakiniSyncError,
    NoInitialSyncError,
)
from makini_provider.api.records import Record
from makini_provider.api.resources import Resource
from makini_provider.sync.coverage import Generation, Kind, StreamState
from makini_provider.sync.destination import Attempt, CommitFacts, Destination
from makini_provider.sync.streams import Stream

log = logging.getLogger(__name__)

LONGEST_KEY: Final = 1024
_WITNESSES: Final = 3
_FAILURES_IN_A_ROW: Final = 3
"""Of different records, after which a failure is taken for that of the server and not of a record."""


class RecordClient(Protocol):
    """What is needed of a client."""

    max_parallel_requests: int

    @property
    def clock(self) -> ServerClock:
        """The server's clock."""
        ...

    def read_record(self, resource: Resource, key: str) -> tuple[Record, datetime]:
        """Ask for one record."""
        ...

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        """Ask for a page of the list."""
        ...


@dataclass(slots=True)
class Asked:
    """What became of the keys that were asked for.

    :param landed: their records are at the destination
    :param missing: the API has no such record
    :param failed: what each of the others failed with
    :param files: the data files that were written, below the stream's folder
    """

    landed: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    failed: dict[str, MakiniError] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def check_key(key: str) -> None:
    """Refuse a key that would lead a request elsewhere, however a server in between decodes its path.

    :raises MakiniConfigurationError: says what is wrong with it
    """
    if not key or key in (".", "..") or "/" in key or "\\" in key or not key.isprintable():
        raise MakiniConfigurationError(
            f"key {key[:80]!r} would bend the path of a request.",
            remedy="It was not asked for; a list brings such a record, where there is one.",
        )
    if len(key) > LONGEST_KEY:
        raise MakiniConfigurationError(
            f"key {key[:80]!r}… has {len(key):,} characters.",
            remedy=f"At most {LONGEST_KEY:,} are asked for.",
        )


class SingleRecords:
    """Brings single records of a stream to its destination, beside the stream's syncs.

    What lands so covers nothing: the watermark stays, and the next incremental sync reads the change again.

    :param client: of the stream's connection
    :param destination: where the stream's syncs land
    :param stream: which records
    :param run_id: identifies the run
    """

    def __init__(
        self, client: RecordClient, destination: Destination, stream: Stream, *, run_id: str
    ) -> None:
        self._client = client
        self._destination = destination
        self._stream = stream
        self._run_id = run_id
        self._proven = False
        # Looked up once, since a destination may have many commits. A full refresh that is begun or completed
        # meanwhile does not mind: what was asked for after it began counts beside it.
        self._generation: Generation | None = None

    def land(self, keys: Iterable[str]) -> Asked:
        """Ask for records and land them as one commit.

        :param keys: each is asked for once
        :raises MakiniDestinationError: the records can't be written
        """
        return self._ask(keys, bury=False)

    def bury(self, keys: Iterable[str]) -> Asked:
        """Ask again for records that were missing: one that still is gets a tombstone, another lands.

        A connection may not serve single records at all, and answers 404 to each. So nothing is buried before
        a record that the list shows was found by its key.

        :param keys: that :meth:`land` found missing
        :raises MakiniSyncError: the connection does not serve single records of this list
        :raises MakiniDestinationError: they can't be written
        """
        self._prove()
        return self._ask(keys, bury=True)

    def _prove(self) -> None:
        if self._proven:
            return
        resource = self._stream.resource
        page, _ = self._client.list_page(resource, ListQuery(page_size=_WITNESSES))
        witnesses = [record.key for record in page.records if record.key is not None][:_WITNESSES]
        for key in witnesses:
            # One of them may be deleted just now.
            with contextlib.suppress(MakiniNotFoundError):
                self._client.read_record(resource, key)
                self._proven = True
                return
        if witnesses:
            raise MakiniSyncError(
                f"{self._stream}: what the list shows, such as {witnesses[0]!r}, is not found by its key.",
                remedy="Nothing is taken for deleted. This connection does not seem to serve single records "
                "of this list: the incremental sync brings its changes.",
            )
        self._proven = True

    def _ask(self, keys: Iterable[str], *, bury: bool) -> Asked:
        if self._generation is None:
            self._generation = generation_of(self._destination, self._stream)
        asked = Asked()
        alive = _Landing(self._destination, self._stream, "events")
        gone = _Landing(self._destination, self._stream, "tombstones")
        try:
            for key, answer, asked_at in self._answers(dict.fromkeys(keys)):
                if isinstance(answer, Record):
                    alive.write(answer, asked_at)
                    asked.landed.add(key)
                elif not isinstance(answer, MakiniNotFoundError):
                    asked.failed[key] = answer
                else:
                    asked.missing.add(key)
                    if bury:
                        gone.write(_tombstone(key), asked_at)
            self._proven |= bool(asked.landed)
            for landing in (alive, gone):
                asked.files += landing.commit(self._generation, self._run_id)
        finally:
            alive.discard()
            gone.discard()
        log.info(
            "%s: asked for %s records; %s landed, %s not found, %s failed.",
            self._stream,
            len(asked.landed) + len(asked.missing) + len(asked.failed),
            len(asked.landed),
            len(asked.missing),
            len(asked.failed),
        )
        return asked

    def _answers(self, keys: Iterable[str]) -> Iterator[tuple[str, Record | MakiniError, datetime]]:
        """The answers as they come; after a failure that concerns all, or several in a row, nothing more is
        asked."""
        hopeless: list[MakiniError] = []
        in_a_row: list[MakiniError] = []

        def ask(key: str) -> tuple[str, Record | MakiniError, datetime]:
            # Before the request, so that a record which appears meanwhile is not taken for deleted.
            asked_at = self._client.clock.now()
            if hopeless:
                return key, hopeless[0], asked_at
            try:
                check_key(key)
                record, asked_at = self._client.read_record(self._stream.resource, key)
            except MakiniError as error:
                if not _concerns_one(error):
                    in_a_row.append(error)
                    if not _may_concern_one(error) or len(in_a_row) >= _FAILURES_IN_A_ROW:
                        hopeless.append(error)
                return key, error, asked_at
            in_a_row.clear()
            return key, record, asked_at

        with ThreadPoolExecutor(self._client.max_parallel_requests) as threads:
            # Closed early, it cancels what has not begun.
            yield from threads.map(ask, keys)


class _Landing:
    """Records of one kind on their way into one commit; nothing is begun before the first comes."""

    def __init__(self, destination: Destination, stream: Stream, kind: Kind) -> None:
        self._destination = destination
        self._stream = stream
        self._kind = kind
        self._attempt: Attempt | None = None
        self._times: list[datetime] = []

    def write(self, record: Record, read_at: datetime) -> None:
        if self._attempt is None:
            self._attempt = self._destination.begin(self._stream)
        self._attempt.write([record], read_at)
        self._times = [min([*self._times, read_at]), max([*self._times, read_at])]

    def commit(self, generation: Generation, run_id: str) -> list[str]:
        if self._attempt is None:
            return []
        facts = CommitFacts(
            kind=self._kind,
            generation=generation,
            window=None,
            covered=None,
            # A full refresh that begins meanwhile replaces what was read before it began, with the rest of
            # its commit, which the next sync brings; what was found deleted after must not be lost.
            read_at=self._times[-1] if self._kind == "tombstones" else self._times[0],
            upstream_completed_at=None,
            run_id=run_id,
        )
        commit = self._attempt.commit(facts)
        self._attempt = None
        return [file.path for file in commit.files]

    def discard(self) -> None:
        if self._attempt is not None:
            self._attempt.discard()


def generation_of(destination: Destination, stream: Stream) -> Generation:
    """The initial sync that single records belong to: the completed one, or the first while it is going on.

    :raises NoInitialSyncError: there is none yet; when one comes, it reads these records by itself
    :raises FingerprintError: the stream was landed with filters: nothing tells whether a record meets them
    """
    state = StreamState(destination.commits(stream))
    generation = state.current or state.open
    if generation is None:
        raise NoInitialSyncError(
            f"{stream} has no initial sync at {destination.location(stream)}.",
            remedy="Nothing is lost: the initial sync reads what changed before it.",
        )
    state.check_fingerprint(stream)
    return generation


def _concerns_one(error: MakiniError) -> bool:
    """Whether another key may well be answered."""
    if isinstance(error, MakiniNotFoundError | MakiniProtocolError | MakiniConfigurationError):
        return True
    return isinstance(error, MakiniStatusError) and error.status in (400, 405, 406, 410, 413, 414, 422)


def _may_concern_one(error: MakiniError) -> bool:
    """Whether it may be about one record: one that the connected system can't serve answers 500, or never.

    It must not keep the others from landing, whose events would die with it.
    """
    kinds = (MakiniServerError, MakiniConnectionError, MakiniForbiddenError)
    return isinstance(error, kinds) and error.retry_after is None


def _tombstone(key: str) -> Record:
    return Record(key, None, msgspec.json.encode({"key": key}))
