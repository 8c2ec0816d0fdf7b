"""What a sync needs of a place where records land."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from makini_provider.api.records import Record
from makini_provider.sync.coverage import Commit, Generation, Kind
from makini_provider.sync.streams import Stream
from makini_provider.sync.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What a sync knows of a commit; the destination adds where the data is. See :class:`Commit`."""

    kind: Kind
    generation: Generation
    window: Window | None
    covered: Window | None
    read_at: datetime
    upstream_completed_at: datetime | None
    run_id: str
    content: str | None = None


class Attempt(Protocol):
    """Records on their way in, invisible until they are committed."""

    @property
    def records(self) -> int:
        """How many were written so far."""
        ...

    def write(self, records: Sequence[Record], read_at: datetime) -> None:
        """Take records that one request brought.

        :param records: in any order
        :param read_at: when they were asked for, by the server's clock
        :raises MakiniDestinationError: they can't be written
        """
        ...

    def commit(self, facts: CommitFacts, *, same_data_as: Commit | None = None) -> Commit:
        """Make the records and what they cover visible, together.

        :param same_data_as: an earlier commit whose data is the same: it is used again, and what was
            written is dropped
        """
        ...

    def discard(self) -> None:
        """Drop what was written. Safe to call at any time."""
        ...


class Destination(Protocol):
    """A place where records land together with what they cover."""

    def commits(self, stream: Stream) -> Iterable[Commit]:
        """All commits of a stream.

        :raises CorruptCommitError: one does not parse
        """
        ...

    def begin(self, stream: Stream) -> Attempt:
        """Begin to write records of a stream."""
        ...

    def location(self, stream: Stream) -> str:
        """Where the stream's data is, for people."""
        ...
