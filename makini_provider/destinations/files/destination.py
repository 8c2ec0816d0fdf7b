"""Files as a destination: data first, then one commit that names it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import IO, Final

import msgspec

from makini_provider.api.errors import CorruptCommitError, MakiniDestinationError, MakiniError
from makini_provider.api.records import Record
from makini_provider.destinations.files.compression import compressor
from makini_provider.destinations.files.layout import (
    COMMITS,
    DATA,
    DOOMED,
    commit_name,
    parse_commit_name,
    part_name,
    stream_folder,
)
from makini_provider.destinations.files.store import Store, explained, open_store, removed_meanwhile
from makini_provider.destinations.uri import check_destination
from makini_provider.sync.coverage import FORMAT_VERSION, Commit, DataFile
from makini_provider.sync.destination import CommitFacts
from makini_provider.sync.ids import new_id
from makini_provider.sync.streams import Stream

PART_BYTES: Final = 256 * 1024 * 1024
"""Size of the records in a data file, before compression, at which another one is begun."""

_decoder = msgspec.json.Decoder(Commit)


class FilesDestination:
    """A folder on local disk or an object store.

    :param destination: URI of the folder
    :param file_format: ``jsonl``
    :param compression: ``gzip``, ``zstd`` or ``none``
    :raises MakiniConfigurationError: the destination can't be used
    """

    def __init__(self, destination: str, *, file_format: str = "jsonl", compression: str = "gzip") -> None:
        check_destination(destination, file_format=file_format, compression=compression)
        self.store = open_store(destination.rstrip("/"))
        self._file_format = file_format
        self._compression = compression
        if compression == "zstd":
            compressor(io.BytesIO(), compression)

    def location(self, stream: Stream) -> str:
        """The stream's folder."""
        return f"{self.store}/{stream_folder(stream)}"

    def commits(self, stream: Stream) -> list[Commit]:
        """All commits of a stream, read from the store itself."""
        folder = stream_folder(stream)
        self.store.prepare(f"{folder}/{COMMITS}")
        return read_commits(self.store, folder)

    def begin(self, stream: Stream) -> FilesAttempt:
        """Begin to write records of a stream."""
        return FilesAttempt(self.store, stream, self._file_format, self._compression)


def read_commits(store: Store, folder: str) -> list[Commit]:
    """All commits of a stream's folder.

    :param store: the destination
    :param folder: of the stream, below it
    :raises CorruptCommitError: one does not parse
    :raises MakiniDestinationError: one can't be read
    """
    gone: set[str] = set()
    while True:
        names = store.names(f"{folder}/{COMMITS}", suffix=".json")
        contents = store.read_all(f"{folder}/{COMMITS}", names)
        found = {f"{store}/{folder}/{COMMITS}/{name}": content for name, content in contents.items()}
        missing = {path for path, content in found.items() if content is None}
        if not missing:
            return [_parse(path, content) for path, content in found.items()]
        # Vacuum removed some between the listing and the reading; what took their place is listed now.
        if still := missing & gone:
            raise MakiniDestinationError(f"commit {min(still)} is listed, and can't be found.")
        gone = missing


def _parse(path: str, content: bytes | None) -> Commit:
    try:
        covered, commit_id = parse_commit_name(path.rsplit("/", 1)[-1])
        version = msgspec.json.decode(content or b"", type=dict[str, object]).get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise _corrupt(path, f"a newer version of this provider wrote it (format_version {version})")
        commit = _decoder.decode(content or b"")
    except (ValueError, msgspec.MsgspecError) as error:
        raise _corrupt(path, str(error)) from error
    if (commit.covered, commit.id) != (covered, commit_id):
        raise _corrupt(path, "its name does not fit its content")
    return commit


def _corrupt(path: str, why: str) -> CorruptCommitError:
    return CorruptCommitError(
        f"commit {path} can't be read: {why}.",
        remedy="Until that is settled it is not known what the destination holds, and nothing is written. "
        "Restore the file, or move it away: its window is then read again.",
    )


class FilesAttempt:
    """Data files of one commit, on their way.

    :param store: the destination
    :param stream: whose records
    :param file_format: of the data files
    :param compression: of the data files
    """

    def __init__(self, store: Store, stream: Stream, file_format: str, compression: str) -> None:
        self.id = new_id()
        self._store = store
        self._stream = stream
        self._folder = stream_folder(stream)
        self._file_format = file_format
        self._compression = compression
        self._files: list[DataFile] = []
        self._part: _Part | None = None
        self._finished = False

    @property
    def records(self) -> int:
        """How many records were written so far."""
        return sum(file.records for file in self._files) + (self._part.records if self._part else 0)

    def write(self, records: Sequence[Record], read_at: datetime) -> None:
        """Write records as they came, one a line."""
        if self._part is None:
            path = f"{DATA}/{self.id}/{part_name(len(self._files), self._file_format, self._compression)}"
            self._part = _Part(self._store, self._folder, path, self._compression)
        self._part.write(records, read_at)
        if self._part.bytes >= PART_BYTES:
            self._close_part()

    def commit(self, facts: CommitFacts, *, same_data_as: Commit | None = None) -> Commit:
        """Write the commit, last; from then on the data is there.

        :raises MakiniDestinationError: the data is gone: vacuum's grace period was too short
        """
        self._close_part()
        if same_data_as is not None and self._is_safe(same_data_as.files):
            self._remove_data()
            self._files = list(same_data_as.files)
        else:
            self._check_data()
            if self._files:
                # What a commit names must outlive a power cut as surely as the commit.
                self._store.sync_folders(f"{self._folder}/{self._files[0].path}")
        commit = Commit(
            id=self.id,
            kind=facts.kind,
            source=str(self._stream.source),
            resource=self._stream.resource.name,
            fingerprint=self._stream.fingerprint,
            generation=facts.generation,
            window=facts.window,
            covered=facts.covered,
            read_at=facts.read_at,
            upstream_completed_at=facts.upstream_completed_at,
            files=self._files,
            records=sum(file.records for file in self._files),
            content=facts.content,
            run_id=facts.run_id,
        )
        content = msgspec.json.format(msgspec.json.encode(commit), indent=2)
        name = f"{self._folder}/{COMMITS}/{commit_name(commit.covered, commit.id)}"
        # From here on the data stays, also where an error comes back: the commit may be there all the same.
        self._finished = True
        self._store.put(name, content)
        try:
            # Vacuum announces what it will remove, and then looks for commits; this looks for announcements
            # after it has committed. So at least one of the two sees the other, and gives way.
            self._check_data()
        except MakiniError:
            self._store.remove(name)
            raise
        return commit

    def discard(self) -> None:
        """Drop what was written; no reader has seen it."""
        if self._finished:
            return
        self._finished = True
        # What can't be removed now stays invisible, and vacuum removes it later.
        with contextlib.suppress(MakiniError, OSError):
            if self._part is not None:
                self._part.abandon()
                self._part = None
            self._remove_data()

    def _close_part(self) -> None:
        if self._part is not None:
            self._files.append(self._part.close())
            self._part = None

    def _check_data(self) -> None:
        if not self._is_safe(self._files):
            raise removed_meanwhile(f"data of {self._store}/{self._folder}")

    def _is_safe(self, files: Sequence[DataFile]) -> bool:
        """Whether data files are there, and vacuum is not about to remove them."""
        for folder, parts in groupby(files, lambda file: file.path.rpartition("/")[0]):
            found = self._store.names(f"{self._folder}/{folder}")
            doomed = any(name.startswith(DOOMED) for name in found)
            if doomed or not {part.path.rpartition("/")[2] for part in parts} <= set(found):
                return False
        return True

    def _remove_data(self) -> None:
        self._store.remove(f"{self._folder}/{DATA}/{self.id}")


class _Part:
    """One data file that is being written."""

    def __init__(self, store: Store, folder: str, path: str, compression: str) -> None:
        self.records = 0
        self.bytes = 0
        self._reads: list[tuple[int, datetime]] = []
        self._store = store
        self._path = path
        self._name = f"{folder}/{path}"
        self._stream = store.create(self._name)
        self._out: IO[bytes] = (
            self._stream if compression == "none" else compressor(self._stream, compression)
        )

    def write(self, records: Sequence[Record], read_at: datetime) -> None:
        if not self._reads or self._reads[-1][1] != read_at:
            self._reads.append((self.records, read_at))
        with explained("write", f"{self._store}/{self._name}"):
            for record in records:
                self._out.write(record.raw)
                self._out.write(b"\n")
                self.bytes += len(record.raw) + 1
        self.records += len(records)

    def close(self) -> DataFile:
        if self._out is not self._stream:
            with explained("write", f"{self._store}/{self._name}"):
                self._out.close()
        self._store.close(self._stream, self._name)
        return DataFile(self._path, self.records, self.bytes, self._reads)

    def abandon(self) -> None:
        with contextlib.suppress(Exception):
            # Left open, a compressor writes its end when the garbage collector finds it.
            if self._out is not self._stream:
                self._out.close()
        self._store.abandon(self._stream)


def stream_folders(store: Store) -> Iterator[str]:
    """The folders in the places of streams, below the destination."""
    for source in store.names(""):
        for domain in store.names(source):
            for resource in store.names(f"{source}/{domain}"):
                yield f"{source}/{domain}/{resource}"


def streams_of(store: Store) -> Iterator[str]:
    """The folders of all streams that have commits, below the destination."""
    return (folder for folder in stream_folders(store) if store.names(f"{folder}/{COMMITS}", suffix=".json"))
