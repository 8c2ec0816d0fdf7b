"""Which version of a record wins, in whatever order the versions came."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from makini_provider.api.records import Record, parse_instant, parse_record
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records
from makini_provider.sync.coverage import Kind

from .building import HISTORY, NOW, facts, id_at, land, record, stream

WORK_ORDERS = stream()
FOLDER = stream_folder(WORK_ORDERS)
NEVER = datetime(1, 1, 1, tzinfo=UTC)


@contextmanager
def empty_destination() -> Iterator[FilesDestination]:
    with tempfile.TemporaryDirectory() as folder:
        yield FilesDestination(f"file://{folder}", compression="none")


def spellings(instant: datetime) -> list[Any]:
    """The same instant, as connected systems write it."""
    abroad = instant.astimezone(timezone(timedelta(hours=5, minutes=30)))
    texts: list[Any] = [
        instant.isoformat(),
        instant.isoformat().replace("+00:00", "Z"),
        instant.isoformat().replace("+00:00", ""),
        abroad.isoformat(),
        instant.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    ]
    if instant.microsecond % 1000 == 0:
        texts.append(round(instant.timestamp() * 1000))
    return texts


cursors = st.sampled_from(
    [
        *spellings(NOW),
        *spellings(NOW + timedelta(milliseconds=500)),
        *spellings(NOW + timedelta(microseconds=1)),
        *spellings(NOW - timedelta(hours=3)),
        None,
        "",
        "yesterday",
    ]
)


@dataclass(frozen=True)
class Read:
    at: datetime
    records: list[tuple[str | None, Any]]


reads = st.builds(
    Read,
    st.integers(0, 3).map(lambda n: NOW + timedelta(seconds=n)),
    st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]), cursors), max_size=4),
)
kinds = st.sampled_from(["window", "window", "events", "tombstones"])
commits = st.lists(st.tuples(kinds, st.lists(reads, max_size=3)), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(commits, st.randoms())
def test_the_newest_by_cursor_then_read_time_then_commit(
    commits: list[tuple[Kind, list[Read]]], chance: random.Random
) -> None:
    """Of windows, events and tombstones, in any order; a record lives if it was seen after its tombstones."""
    versions: list[tuple[datetime, datetime, int, int, Record]] = []
    last_seen: dict[str, datetime] = {}
    last_missed: dict[str, datetime] = {}
    attempts = []
    for number, (kind, parts) in enumerate(commits):
        batches, line = [], 0
        times = last_missed if kind == "tombstones" else last_seen
        for read in parts:
            batch = []
            for key, cursor in read.records:
                new = record(key, cursor, version=len(versions) if key else None)
                times[new.identity] = max(times.get(new.identity, read.at), read.at)
                if kind != "tombstones":
                    versions.append((parse_instant(cursor) or NEVER, read.at, number, line, new))
                batch.append(new)
                line += 1
            batches.append((read.at, batch))
        attempts.append((number, kind, batches))

    expected = {version[4].identity: version[4].raw for version in sorted(versions, key=lambda v: v[:4])}
    alive = [raw for key, raw in expected.items() if last_seen[key] > last_missed.get(key, NEVER)]
    chance.shuffle(attempts)
    with empty_destination() as destination:
        land(destination, WORK_ORDERS, [], facts(), commit_id=id_at(NOW - timedelta(days=1)))
        for number, kind, batches in attempts:
            about = facts(HISTORY if kind == "window" else None, kind=kind)
            land(destination, WORK_ORDERS, batches, about, commit_id=id_at(NOW, number))
        found = list(newest_records(destination.store, FOLDER))
    assert sorted(found) == sorted(alive)


def newest(*versions: tuple[Any, datetime]) -> int:
    """Commit versions of one record, one after the other, and say which of them won."""
    with empty_destination() as destination:
        for number, (cursor, read_at) in enumerate(versions):
            land(destination, WORK_ORDERS, [(read_at, [record("1", cursor, version=number)])], facts())
        (raw,) = newest_records(destination.store, FOLDER)
    version: int = json.loads(raw)["version"]
    return version


def test_a_later_commit_of_an_older_version_does_not_win() -> None:
    assert newest(("2026-07-02T00:00:00Z", NOW), ("2026-07-01T00:00:00Z", NOW + timedelta(days=1))) == 0


def test_offsets_and_fractions_are_compared_as_instants() -> None:
    assert newest(("2026-07-01T01:30:00+02:00", NOW), ("2026-07-01T00:00:00Z", NOW)) == 1
    assert newest(("2026-07-01T00:00:00.5Z", NOW), ("2026-07-01T00:00:00.25Z", NOW)) == 0
    assert newest(("2026-07-01T00:00:00.1Z", NOW), ("2026-07-01T00:00:00Z", NOW)) == 0


def test_with_the_same_cursor_the_later_answer_wins() -> None:
    assert newest(("2026-07-01T00:00:00Z", NOW + timedelta(seconds=1)), ("2026-07-01T00:00:00Z", NOW)) == 0


def test_a_record_that_lost_its_cursor_does_not_hide_the_dated_one() -> None:
    assert newest(("2026-07-01T00:00:00Z", NOW), (None, NOW + timedelta(days=1))) == 0


def test_records_without_a_key_are_told_apart_by_their_content() -> None:
    raws = [b'{"name":"a"}', b'{"name":"b"}', b'{"name":"a"}']
    with empty_destination() as destination:
        records = [parse_record(raw, "updatedAt") for raw in raws]
        land(destination, WORK_ORDERS, [(NOW, records)], facts())
        assert sorted(newest_records(destination.store, FOLDER)) == raws[:2]


def test_a_reader_may_stop_early() -> None:
    with empty_destination() as destination:
        land(destination, WORK_ORDERS, [(NOW, [record(str(n)) for n in range(100)])], facts())
        records = newest_records(destination.store, FOLDER)
        next(records)
        records.close()  # type: ignore[attr-defined]
