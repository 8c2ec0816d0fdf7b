"""What commits add up to where a full refresh and an incremental sync are read beside each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from makini_provider.sync.coverage import Commit, Generation, StreamState
from makini_provider.sync.windows import Window
from tests.sync.machine import STREAM

BEGAN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OLD = Generation("1", BEGAN - 100 * SECOND, BEGAN, "initial")
REFRESH = Generation("2", BEGAN - 100 * SECOND, BEGAN + 11 * SECOND, "refresh")


def commit(number: int, generation: Generation, start: datetime, covered: datetime, at: datetime) -> Commit:
    return Commit(
        id=str(number),
        kind="window",
        source=str(STREAM.source),
        resource=STREAM.resource.name,
        fingerprint=STREAM.fingerprint,
        generation=generation,
        window=Window(start, max(at, covered)),
        covered=Window(start, covered),
        read_at=at,
        upstream_completed_at=None,
        files=[],
        records=0,
        run_id=str(number),
    )


INITIAL = commit(1, OLD, OLD.start, OLD.end, OLD.end)
# Makini had completed its own sync half a second before.
REFRESHED = commit(3, REFRESH, REFRESH.start, REFRESH.end - SECOND / 2, REFRESH.end)


def test_a_sync_that_began_after_a_full_refresh_counts_with_it() -> None:
    later = commit(2, OLD, BEGAN - SECOND, REFRESH.end + 5 * SECOND, REFRESH.end + 5 * SECOND)
    assert StreamState([INITIAL, later]).watermark == later.read_at
    assert StreamState([INITIAL, later, REFRESHED]).watermark == later.read_at


def test_a_sync_that_may_have_begun_before_a_full_refresh_does_not_count_with_it() -> None:
    """It may have seen records that were gone at the refresh; the next run reads its time again."""
    before = commit(2, OLD, BEGAN - SECOND, REFRESH.end - SECOND / 10, REFRESH.end - SECOND / 10)
    assert StreamState([INITIAL, before]).watermark == before.read_at
    state = StreamState([INITIAL, before, REFRESHED])
    assert before not in state.visible
    assert state.watermark == REFRESHED.covered.end
    assert before.read_at - state.watermark < SECOND
