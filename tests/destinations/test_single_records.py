"""What webhooks bring beside the syncs: it is seen at once, and it covers nothing."""

from __future__ import annotations

import json
from datetime import timedelta

from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import committed_files, newest_records
from makini_provider.sync.coverage import Commit, Generation, Kind, StreamState
from makini_provider.sync.streams import Stream
from makini_provider.sync.windows import Window

from .building import DAY, GENERATION, HISTORY, NOW, facts, id_at, land, record, stream

SECOND = timedelta(seconds=1)
WORK_ORDERS = stream()
STATUSES = stream("eam/uom")


def landed(destination: FilesDestination, what: Stream = WORK_ORDERS) -> dict[str, str]:
    rows = map(json.loads, newest_records(destination.store, stream_folder(what)))
    return {row["key"]: row.get("name", "") for row in rows}


def event(
    destination: FilesDestination,
    seconds: int,
    kind: Kind = "events",
    what: Stream = WORK_ORDERS,
    generation: Generation = GENERATION,
    **fields: str,
) -> Commit:
    at = NOW + seconds * SECOND
    batch = [(at, [record("1", "2026-07-20T00:00:00Z", **fields)])]
    return land(destination, what, batch, facts(None, kind=kind, generation=generation, read_at=at))


def test_an_event_is_seen_and_the_watermark_stays(destination: FilesDestination) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1", name="old")])], facts())
    commit = event(destination, 60, name="new")
    state = StreamState(destination.commits(WORK_ORDERS))
    assert landed(destination) == {"1": "new"}
    assert (state.watermark, state.coverage) == (NOW, [HISTORY])
    assert commit.covered is None
    (path,) = (
        name
        for name in destination.store.names(f"{stream_folder(WORK_ORDERS)}/_commits")
        if commit.id in name
    )
    assert path == f"none--none--{commit.id}.json"


def test_a_tombstone_hides_what_was_read_before_it_and_not_what_comes_after(
    destination: FilesDestination,
) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1", name="old"), record("2")])], facts())
    event(destination, 60, "tombstones")
    assert landed(destination) == {"2": ""}
    assert len(committed_files(destination.store, stream_folder(WORK_ORDERS))) == 1, (
        "it is no file of records"
    )
    event(destination, 61, name="back")
    assert landed(destination) == {"1": "back", "2": ""}


def test_a_full_refresh_replaces_what_was_read_before_it_began(destination: FilesDestination) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("0")])], facts())
    event(destination, 60, name="before")
    begun = NOW + 120 * SECOND
    refresh = Generation(id_at(begun), HISTORY.start, begun, "refresh")
    window = Window(HISTORY.start, begun)
    land(destination, WORK_ORDERS, [(begun, [record("0")])], facts(window, generation=refresh, read_at=begun))
    assert landed(destination) == {"0": ""}, "the source no longer has it"
    event(destination, 180, name="after")
    assert landed(destination) == {"0": "", "1": "after"}


def test_what_lands_during_a_full_refresh_is_seen_before_and_after_its_end(
    destination: FilesDestination,
) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("0"), record("1", name="old")])], facts())
    begun = NOW + 60 * SECOND
    refresh = Generation(id_at(begun), HISTORY.start, begun, "refresh")
    half = Window(HISTORY.start, HISTORY.start + 45 * DAY)
    rest = Window(half.end, begun)
    batch = [(begun, [record("0"), record("1", name="old")])]
    land(destination, WORK_ORDERS, batch, facts(half, generation=refresh, read_at=begun))
    event(destination, 90, "tombstones")
    assert landed(destination) == {"0": ""}
    land(destination, WORK_ORDERS, [], facts(rest, generation=refresh, read_at=begun))
    assert landed(destination) == {"0": ""}


def test_a_snapshot_takes_the_place_of_the_events_before_it(destination: FilesDestination) -> None:
    def snapshot(seconds: int, content: str, *keys: str, same: Commit | None = None) -> Commit:
        at = NOW + seconds * SECOND
        batch = [(at, [record(key, None, name=content) for key in keys])]
        about = facts(None, kind="snapshot", read_at=at, content=content)
        return land(destination, STATUSES, batch, about, same_data_as=same)

    first = snapshot(0, "a", "0", "1")
    event(destination, 60, "tombstones", STATUSES)
    event(destination, 61, what=STATUSES, name="changed")
    assert landed(destination, STATUSES) == {"0": "a", "1": "changed"}
    event(destination, 62, "tombstones", STATUSES)
    assert landed(destination, STATUSES) == {"0": "a"}
    snapshot(120, "a", "0", "1", same=first)
    assert landed(destination, STATUSES) == {"0": "a", "1": "a"}, "it is what it was, data of old included"
    assert StreamState(destination.commits(STATUSES)).watermark == NOW + 120 * SECOND


def test_the_first_initial_sync_may_still_be_going_on(destination: FilesDestination) -> None:
    half = Window(HISTORY.start, HISTORY.start + 45 * DAY)
    land(destination, WORK_ORDERS, [(NOW, [record("0")])], facts(half))
    event(destination, 5, name="new")
    state = StreamState(destination.commits(WORK_ORDERS))
    assert landed(destination) == {"0": "", "1": "new"}
    assert (state.current, state.watermark) == (None, None)
    assert state.unread(GENERATION) == [Window(half.end, HISTORY.end)]
