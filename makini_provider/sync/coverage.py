"""What a destination holds of a stream, derived from its commits and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Final, Literal

import msgspec

from makini_provider.api.errors import FingerprintError
from makini_provider.sync.streams import Fingerprint, Stream
from makini_provider.sync.windows import Window, contiguous_end, merge, subtract

FORMAT_VERSION: Final = 1
STALLED_RUNS: Final = 3
"""So many runs in a row that could not move the watermark are worth a warning."""

Kind = Literal["window", "snapshot", "events", "tombstones"]
"""What a commit holds: a window of the cursor field; the whole list; single records, asked for by their keys;
or keys that the API no longer knows. The last two cover nothing, so that they never move a watermark."""


class Generation(msgspec.Struct, frozen=True):
    """One initial sync: everything it has to read, fixed when it began.

    :param id: of the generation
    :param start: where its windows begin
    :param end: where they end: the server's clock before the first page
    :param run_id: the run that opened it
    """

    id: str
    start: datetime
    end: datetime
    run_id: str


class DataFile(msgspec.Struct, frozen=True):
    """One file of a commit.

    :param path: below the stream's folder
    :param records: lines in it
    :param bytes: size of the records before compression
    :param reads: pairs of a line (from 0) and the time at which the records from there on were asked for
    """

    path: str
    records: int
    bytes: int
    reads: list[tuple[int, datetime]]


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Records and what they cover, made visible together.

    :param id: of the commit; a later one is greater
    :param kind: ``window``, ``snapshot``, ``events`` or ``tombstones``
    :param source: text of the stream's source
    :param resource: name of the stream's resource
    :param fingerprint: what the coverage depends on
    :param generation: the initial sync that it belongs to or continues
    :param window: what was read, where it was a window
    :param covered: the part of the window that counts as covered
    :param read_at: when reading began, by the server's clock; of tombstones, when it ended
    :param upstream_completed_at: end of Makini's own last completed sync, as far as this stream has seen one
    :param files: the data
    :param records: how many records they hold
    :param content: digest of a snapshot's content
    :param run_id: the run that wrote it
    :param format_version: of this format
    """

    id: str
    kind: Kind
    source: str
    resource: str
    fingerprint: Fingerprint
    generation: Generation
    window: Window | None
    covered: Window | None
    read_at: datetime
    upstream_completed_at: datetime | None
    files: list[DataFile]
    records: int
    content: str | None = None
    run_id: str
    format_version: int = FORMAT_VERSION


class StreamState:
    """What the commits of a stream add up to.

    :param commits: all that the destination lists, in any order
    """

    def __init__(self, commits: Iterable[Commit]) -> None:
        self.commits: Sequence[Commit] = sorted(commits, key=lambda commit: commit.id)

    @cached_property
    def generations(self) -> list[Generation]:
        """All generations, oldest first."""
        by_id = {commit.generation.id: commit.generation for commit in self.commits}
        return [by_id[key] for key in sorted(by_id)]

    def unread(self, generation: Generation) -> list[Window]:
        """What an initial sync has still to read."""
        read = [c.window for c in self.commits if c.generation.id == generation.id and c.window is not None]
        if any(c.kind == "snapshot" and c.generation.id == generation.id for c in self.commits):
            return []
        return subtract(Window(generation.start, generation.end), read)

    @cached_property
    def current(self) -> Generation | None:
        """The newest completed initial sync: what readers see."""
        return next((g for g in reversed(self.generations) if not self.unread(g)), None)

    @cached_property
    def open(self) -> Generation | None:
        """The newest initial sync, where it is not completed."""
        newest = self.generations[-1] if self.generations else None
        return newest if newest is not None and self.unread(newest) else None

    def opened_by(self, run_id: str) -> Generation | None:
        """The newest initial sync that this run has begun, in an earlier try."""
        return next((g for g in reversed(self.generations) if g.run_id == run_id), None)

    def resumable(self, stream: Stream) -> Generation | None:
        """The open initial sync, where it was begun with the stream's own settings."""
        generation = self.open
        if generation is None or self._fingerprint_of(generation) != stream.fingerprint:
            return None
        return generation

    def has_undated(self, generation: Generation) -> bool:
        """Whether an initial sync has already brought the records that no window holds."""
        return any(
            c.generation.id == generation.id and c.kind == "window" and c.window is None for c in self.commits
        )

    def _fingerprint_of(self, generation: Generation) -> Fingerprint:
        return next(c.fingerprint for c in self.commits if c.generation.id == generation.id)

    @cached_property
    def visible(self) -> list[Commit]:
        """The commits that readers see.

        Those of the current generation, and those of runs that began after it was opened: an incremental
        sync that ran beside a full refresh read the same source, later. While the first initial sync is
        going on, what it has finished is visible. A snapshot takes the place of everything that was read
        before it began.
        """
        generation = self.current or self.open
        if generation is None:
            return []
        fingerprint = self._fingerprint_of(generation)
        commits = [
            commit
            for commit in self.commits
            if commit.generation.id == generation.id
            or (commit.read_at >= generation.end and commit.fingerprint == fingerprint)
        ]
        snapshots = [c for c in commits if c.kind == "snapshot"]
        if not snapshots:
            return commits
        # Of two that were read beside each other, the one that was begun later says more, whenever it wrote.
        snapshot = max(snapshots, key=lambda c: (c.read_at, c.id))
        return [
            c for c in commits if c is snapshot or (c.kind != "snapshot" and c.read_at >= snapshot.read_at)
        ]

    @property
    def with_records(self) -> list[Commit]:
        """The commits that readers take records from."""
        return [commit for commit in self.visible if commit.kind != "tombstones"]

    @property
    def with_tombstones(self) -> list[Commit]:
        """The commits that say which records are gone."""
        return [commit for commit in self.visible if commit.kind == "tombstones"]

    @cached_property
    def coverage(self) -> list[Window]:
        """The windows that are completely here."""
        return merge(commit.covered for commit in self.visible if commit.covered is not None)

    @property
    def anchor(self) -> datetime | None:
        """Start of the completed initial sync."""
        return self.current.start if self.current else None

    @property
    def watermark(self) -> datetime | None:
        """Everything before this, back to the anchor, is here; ``None`` until the initial sync is done."""
        if self.current is None:
            return None
        snapshots = [c.read_at for c in self.visible if c.kind == "snapshot"]
        if snapshots:
            return max(snapshots)
        return contiguous_end(self.coverage, self.current.start)

    @property
    def upstream_completed_at(self) -> datetime | None:
        """End of Makini's own last completed sync, as far as any commit has seen one."""
        return max((c.upstream_completed_at for c in self.commits if c.upstream_completed_at), default=None)

    @property
    def stalled_runs(self) -> int:
        """How many runs read beyond the watermark without moving it."""
        watermark = self.watermark
        if watermark is None:
            return 0
        return len({c.run_id for c in self.visible if c.window is not None and c.window.end > watermark})

    def check_fingerprint(self, stream: Stream) -> None:
        """Refuse to build on coverage of other records.

        :raises FingerprintError: the stream was landed with another cursor field, other filters or dialect
        """
        generation = self.current or self.open
        if generation is None:
            return
        landed = self._fingerprint_of(generation)
        if landed != stream.fingerprint:
            differences = ", ".join(
                f"{name} was {getattr(landed, name)!r} and is now {getattr(stream.fingerprint, name)!r}"
                for name in landed.__struct_fields__
                if getattr(landed, name) != getattr(stream.fingerprint, name)
            )
            raise FingerprintError(
                f"{stream} was landed with other settings ({differences}): its coverage does not apply.",
                remedy="Restore the settings, use another destination, or run once with full_refresh=True, "
                "which reads everything again.",
            )
