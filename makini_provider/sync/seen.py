"""Which records a walk has seen: on disk where they are many, so that memory stays flat."""

from __future__ import annotations

import hashlib
import sqlite3
from types import TracebackType
from typing import NamedTuple

from makini_provider.api.records import Record


class Sighting(NamedTuple):
    """What was known of a record before it was seen now.

    :param last_pass: the pass that saw it last, or ``None``
    :param changed: whether its content was other then
    """

    last_pass: int | None
    changed: bool


class SeenRecords:
    """The records that a walk has seen, with the pass that saw each last and a digest of its content.

    SQLite's unnamed database lives in memory while it is small and moves to a temporary file when it grows.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA cache_size = -4096")
        self._database.execute(
            "CREATE TABLE seen (identity TEXT PRIMARY KEY, digest BLOB, pass INTEGER) WITHOUT ROWID"
        )

    def __enter__(self) -> SeenRecords:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def see(self, record: Record, number: int) -> Sighting:
        """Note that pass ``number`` sees the record, and tell what was known of it before."""
        digest = hashlib.blake2b(record.raw, digest_size=16).digest()
        row = self._database.execute(
            "SELECT pass, digest FROM seen WHERE identity = ?", (record.identity,)
        ).fetchone()
        self._database.execute(
            "INSERT INTO seen VALUES (?, ?, ?) "
            "ON CONFLICT (identity) DO UPDATE SET digest = excluded.digest, pass = excluded.pass",
            (record.identity, digest, number),
        )
        return Sighting(None, False) if row is None else Sighting(row[0], row[1] != digest)

    def count(self, *, since_pass: int) -> int:
        """How many records were seen by that pass or a later one."""
        (count,) = self._database.execute(
            "SELECT count(*) FROM seen WHERE pass >= ?", (since_pass,)
        ).fetchone()
        return int(count)

    def content(self, *, since_pass: int) -> str:
        """A digest of all records seen by that pass or a later one, whatever their order."""
        digest = hashlib.blake2b(digest_size=16)
        for identity, content in self._database.execute(
            "SELECT identity, digest FROM seen WHERE pass >= ? ORDER BY identity", (since_pass,)
        ):
            digest.update(identity.encode("utf-8", "surrogatepass") + b"\0" + content)
        return digest.hexdigest()
