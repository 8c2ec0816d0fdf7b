"""Reading what has landed: the committed files, and the newest version of each record."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime

from makini_provider.api.errors import MakiniDestinationError
from makini_provider.api.records import Record, parse_record
from makini_provider.destinations.files.compression import decompressor
from makini_provider.destinations.files.destination import read_commits
from makini_provider.destinations.files.store import Store, explained
from makini_provider.sync.coverage import Commit, DataFile, StreamState


def stream_state(store: Store, folder: str) -> StreamState:
    """What the commits of a stream's folder add up to."""
    return StreamState(read_commits(store, folder))


def committed_files(store: Store, folder: str) -> list[str]:
    """The data files whose records count, as paths below the destination."""
    files = [
        f"{folder}/{file.path}"
        for commit in stream_state(store, folder).with_records
        for file in commit.files
    ]
    return list(dict.fromkeys(files))


def newest_records(store: Store, folder: str) -> Iterator[bytes]:
    """The newest version of each record: by cursor, then by the time it was asked for, then by commit.

    A record is left out where no version of it was read after its newest tombstone.

    The index of versions moves to a temporary file when it grows, so that memory stays flat.

    :param store: the destination
    :param folder: of the stream, below it
    :return: the records as the API sent them
    :raises MakiniDestinationError: a data file is gone or damaged
    """
    state = stream_state(store, folder)
    commits = state.with_records
    index = sqlite3.connect("", isolation_level=None)
    try:
        index.execute("PRAGMA journal_mode = OFF")
        index.execute(
            "CREATE TABLE newest (identity TEXT PRIMARY KEY, cursor TEXT, read_at TEXT, line INTEGER) "
            "WITHOUT ROWID"
        )
        index.execute("CREATE TABLE gone (identity TEXT PRIMARY KEY, read_at TEXT) WITHOUT ROWID")
        index.execute("BEGIN")
        index.executemany(
            "INSERT INTO gone VALUES (?, ?) ON CONFLICT (identity) DO UPDATE SET "
            "read_at = max(read_at, excluded.read_at)",
            (
                (tombstone.identity, _sortable(read_at))
                for tombstone, read_at in _records(store, folder, state.with_tombstones)
            ),
        )
        if state.with_tombstones:
            index.execute(
                "CREATE TRIGGER seen_again BEFORE INSERT ON newest BEGIN "
                "DELETE FROM gone WHERE identity = NEW.identity AND read_at < NEW.read_at; END"
            )
        # Commits come in the order of their ids: with the rest equal, a later line wins.
        index.executemany(
            "INSERT INTO newest VALUES (?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET "
            "cursor = excluded.cursor, read_at = excluded.read_at, line = excluded.line "
            "WHERE (excluded.cursor, excluded.read_at) >= (newest.cursor, newest.read_at)",
            (
                (record.identity, _sortable(record.cursor), _sortable(read_at), line)
                for line, (record, read_at) in enumerate(_records(store, folder, commits))
            ),
        )
        wanted = index.execute(
            "SELECT line FROM newest WHERE identity NOT IN (SELECT identity FROM gone) ORDER BY line"
        )
        following = next(wanted, None)
        for line, (record, _) in enumerate(_records(store, folder, commits)):
            if following is not None and line == following[0]:
                yield record.raw
                following = next(wanted, None)
    finally:
        index.close()


def _records(store: Store, folder: str, commits: list[Commit]) -> Iterator[tuple[Record, datetime]]:
    """All committed records with the time at which each was asked for."""
    for commit in commits:
        for file in commit.files:
            starts = [start for start, _ in file.reads]
            for number, raw in enumerate(_lines(store, folder, file)):
                record = parse_record(raw, commit.fingerprint.cursor_field)
                yield record, file.reads[bisect_right(starts, number) - 1][1]


def _lines(store: Store, folder: str, file: DataFile) -> Iterator[bytes]:
    name = f"{folder}/{file.path}"
    found = 0
    with (
        explained("read", f"{store}/{name}"),
        store.open(name) as stream,
        decompressor(stream, file.path) as lines,
    ):
        for line in lines:
            found += 1
            yield line.rstrip(b"\n")
    if found != file.records:
        raise MakiniDestinationError(
            f"data file {store}/{name} has {found} records, where its commit says {file.records}.",
            remedy="Restore the file, or run the initial sync once with full_refresh=True.",
        )


def _sortable(instant: datetime | None) -> str:
    return "" if instant is None else instant.astimezone(UTC).isoformat(timespec="microseconds")
