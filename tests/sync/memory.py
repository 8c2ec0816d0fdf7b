"""A destination in memory: the smallest thing that keeps the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from makini_provider.api.records import Record
from makini_provider.sync.coverage import Commit, DataFile, StreamState
from makini_provider.sync.destination import CommitFacts
from makini_provider.sync.ids import new_id
from makini_provider.sync.streams import Stream


class MemoryDestination:
    def __init__(self) -> None:
        self.committed: list[Commit] = []
        self.data: dict[str, list[tuple[Record, datetime]]] = {}

    def commits(self, stream: Stream) -> list[Commit]:
        return list(self.committed)

    def begin(self, stream: Stream) -> MemoryAttempt:
        return MemoryAttempt(self, stream)

    def location(self, stream: Stream) -> str:
        return f"memory:{stream}"

    def newest(self) -> dict[str, Record]:
        """The newest version of each record that a reader sees."""
        newest: dict[str, tuple[tuple[datetime | None, datetime, str], Record]] = {}
        seen: dict[str, datetime] = {}
        missed: dict[str, datetime] = {}
        for commit in StreamState(self.committed).visible:
            times = missed if commit.kind == "tombstones" else seen
            for file in commit.files:
                for record, read_at in self.data[file.path]:
                    key = record.identity
                    times[key] = max(times.get(key, read_at), read_at)
                    if times is missed:
                        continue
                    rank = (record.cursor or datetime.min.replace(tzinfo=read_at.tzinfo), read_at, commit.id)
                    if key not in newest or rank >= newest[key][0]:
                        newest[key] = (rank, record)
        return {
            key: record for key, (_, record) in newest.items() if key not in missed or seen[key] > missed[key]
        }


class MemoryAttempt:
    def __init__(self, destination: MemoryDestination, stream: Stream) -> None:
        self.id = new_id()
        self._destination = destination
        self._stream = stream
        self._rows: list[tuple[Record, datetime]] = []

    @property
    def records(self) -> int:
        return len(self._rows)

    def write(self, records: Sequence[Record], read_at: datetime) -> None:
        self._rows += [(record, read_at) for record in records]

    def commit(self, facts: CommitFacts, *, same_data_as: Commit | None = None) -> Commit:
        files = [DataFile(self.id, len(self._rows), 0, [])] if self._rows else []
        if same_data_as is not None:
            files = same_data_as.files
        else:
            self._destination.data[self.id] = self._rows
        commit = Commit(
            id=self.id,
            source=str(self._stream.source),
            resource=self._stream.resource.name,
            fingerprint=self._stream.fingerprint,
            files=files,
            records=sum(file.records for file in files),
            **{name: getattr(facts, name) for name in facts.__dataclass_fields__},
        )
        self._destination.committed.append(commit)
        return commit

    def discard(self) -> None:
        self._rows = []
