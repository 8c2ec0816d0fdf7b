"""Streams, commits and records for these tests, with identifiers and times that the test chooses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from makini_provider.api.records import Record, parse_record
from makini_provider.api.resources import get_resource
from makini_provider.destinations.files.destination import FilesAttempt, FilesDestination
from makini_provider.sync.coverage import Commit, Generation, Kind
from makini_provider.sync.destination import CommitFacts
from makini_provider.sync.streams import Source, Stream
from makini_provider.sync.windows import Window

DAY = timedelta(days=1)
NOW = datetime(2026, 8, 1, tzinfo=UTC)
HISTORY = Window(NOW - 90 * DAY, NOW)
GENERATION = Generation("01980000-0000-7000-8000-000000000000", HISTORY.start, HISTORY.end, "initial")


def stream(resource: str = "eam/work-orders", source: str = "acme", **filters: str) -> Stream:
    return Stream(Source(source), get_resource(resource), filters)


def id_at(instant: datetime, number: int = 0) -> str:
    """An identifier as it would have been made at that time."""
    milliseconds = int(instant.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62 | number))


def record(key: str | None, updated_at: Any = "2026-07-01T00:00:00Z", **fields: Any) -> Record:
    return parse_record(json.dumps({"key": key, "updatedAt": updated_at, **fields}).encode(), "updatedAt")


def facts(
    window: Window | None = HISTORY,
    *,
    kind: Kind = "window",
    generation: Generation = GENERATION,
    read_at: datetime = NOW,
    run_id: str = "run",
    content: str | None = None,
) -> CommitFacts:
    return CommitFacts(
        kind=kind,
        generation=generation,
        window=window,
        covered=window,
        read_at=read_at,
        upstream_completed_at=None,
        run_id=run_id,
        content=content,
    )


def land(
    destination: FilesDestination,
    what: Stream,
    reads: Iterable[tuple[datetime, Sequence[Record]]],
    about: CommitFacts,
    *,
    commit_id: str | None = None,
    same_data_as: Commit | None = None,
) -> Commit:
    """Write and commit what some requests brought."""
    attempt = destination.begin(what)
    if commit_id is not None:
        attempt.id = commit_id
    for read_at, records in reads:
        attempt.write(records, read_at)
    return attempt.commit(about, same_data_as=same_data_as)


def kill(attempt: FilesAttempt) -> None:
    """Leave an attempt as a killed task does: its data is there, and no commit."""
    attempt._close_part()
