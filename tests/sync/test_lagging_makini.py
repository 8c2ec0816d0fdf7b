"""C3: the watermark is honest about what has not arrived at Makini yet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from makini_provider.api.client import Integration
from tests.sync.lagging import Day, arrives_behind_the_reader, changed_while_makini_pulls


def test_a_record_that_is_changed_while_makini_pulls_is_not_lost() -> None:
    changed_while_makini_pulls()


def test_a_record_that_arrives_behind_the_reader_is_not_lost() -> None:
    arrives_behind_the_reader()


def test_coverage_ends_where_makinis_own_last_sync_ended() -> None:
    day = Day()
    day.source.now = day.at(30)
    day.done(20)
    day.source.now = day.at(30)
    day.incremental()
    assert day.watermark == day.at(20)


@pytest.mark.parametrize("state", ["inprogress", "error", "fail", None])
def test_without_a_completed_sync_coverage_stays_at_the_last_one_that_was_seen(state: str | None) -> None:
    day = Day()
    day.done(20)
    day.source.now = day.at(30)
    day.incremental()
    day.state = Integration(state, day.at(50), {})
    day.source.now = day.at(60)
    day.incremental()
    assert day.watermark == day.at(20)


def test_a_connection_that_never_tells_is_covered_up_to_the_windows_end() -> None:
    day = Day()
    day.destination.committed.clear()
    day.state = Integration(None, None, {})
    day.sync(lambda sync: sync.initial(history=timedelta(days=30)))
    day.source.now = day.at(60)
    day.incremental()
    assert day.watermark is not None
    assert day.watermark >= day.at(60)


def test_an_hourly_run_that_always_meets_a_sync_in_progress_reads_everything_and_warns() -> None:
    day = Day()
    receipts = []
    for hour in range(1, 6):
        day.state = Integration("inprogress", day.at(hour * 60 - 1), {})
        day.source.now = day.at(hour * 60)
        key = day.source.insert(day.at(hour * 60 - 30))
        day.sync(lambda sync: receipts.append(_triggered(sync)))
        day.assert_landed(key)
    assert day.watermark == day.at(0)
    assert any("watermark has stood" in warning for warning in receipts[-1]["warnings"])


def _triggered(sync):  # type: ignore[no-untyped-def]
    from makini_provider.sync.plan import RunInterval

    return sync.incremental(RunInterval(scheduled=False), lookback=timedelta(hours=1))
