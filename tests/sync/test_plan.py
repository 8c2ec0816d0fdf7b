"""C2: which window an incremental run reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.sync.plan import RunInterval, incremental_window, initial_window
from makini_provider.sync.windows import EARLIEST, Window

NOW = datetime(2026, 8, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
SCHEDULED = RunInterval(NOON - HOUR, NOON, NOON - HOUR)


def window(interval: RunInterval, watermark: datetime, **more: object) -> Window | None:
    settings = {"lookback": HOUR, "now": NOW, **more}
    return incremental_window(interval, watermark=watermark, **settings)  # type: ignore[arg-type]


def test_a_scheduled_run_reads_its_interval_less_the_lookback() -> None:
    assert window(SCHEDULED, NOON - HOUR) == Window(NOON - 2 * HOUR, NOON)


def test_a_run_after_a_pause_starts_at_the_watermark() -> None:
    month_ago = NOON - timedelta(days=30)
    assert window(SCHEDULED, month_ago) == Window(month_ago - HOUR, NOON)


def test_an_old_run_that_is_cleared_reads_its_own_interval_again() -> None:
    old = RunInterval(NOON - 9 * HOUR, NOON - 8 * HOUR)
    assert window(old, NOON) == Window(NOON - 10 * HOUR, NOON - 8 * HOUR)


def test_a_run_that_somebody_started_goes_up_to_its_moment() -> None:
    manual = RunInterval(NOON - HOUR, NOON, NOW - timedelta(minutes=1), scheduled=False)
    assert window(manual, NOON) == Window(NOON - 2 * HOUR, NOW - timedelta(minutes=1))


def test_its_moment_is_told_by_the_servers_clock() -> None:
    manual = RunInterval(NOON - HOUR, NOON, NOW - 10 * timedelta(minutes=1), scheduled=False)
    read = window(manual, NOON, skew=10 * timedelta(minutes=1))
    assert read is not None
    assert read.end == NOW


@pytest.mark.parametrize(
    "interval",
    [RunInterval(), RunInterval(NOON, NOON, NOON), RunInterval(NOON, NOON, NOON, scheduled=False)],
    ids=["no interval", "no width", "no width, started by hand"],
)
def test_a_run_without_an_interval_goes_from_the_watermark_to_now(interval: RunInterval) -> None:
    assert window(interval, NOON) == Window(NOON - HOUR, NOW)


def test_nothing_ends_after_the_servers_clock() -> None:
    ahead = RunInterval(NOW - HOUR, NOW + HOUR)
    read = window(ahead, NOW - HOUR)
    assert read is not None
    assert read.end == NOW


def test_given_times_take_the_place_of_both_ends_as_they_are() -> None:
    read = window(SCHEDULED, NOON, window_start=NOON - 5 * HOUR, window_end=NOON - 4 * HOUR)
    assert read == Window(NOON - 5 * HOUR, NOON - 4 * HOUR)


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ({"window_start": NOON, "window_end": NOON - HOUR}, "is not before window_end"),
        ({"window_start": NOW + HOUR}, "lies in the future"),
    ],
)
def test_reversed_and_future_times_are_refused(times: dict[str, datetime], told: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=told):
        window(SCHEDULED, NOON, **times)


moments = st.integers(0, 1000).map(lambda minutes: NOW - timedelta(minutes=minutes))


@given(moments, moments, st.booleans())
def test_no_run_leaves_a_gap_behind_the_watermark(
    end: datetime, watermark: datetime, scheduled: bool
) -> None:
    read = window(RunInterval(end - HOUR, end, end - HOUR, scheduled), watermark)
    assert read is not None
    assert read.start <= watermark


def test_the_initial_window_goes_back_as_far_as_the_history() -> None:
    assert initial_window(history=timedelta(days=30), now=NOW) == Window(NOW - timedelta(days=30), NOW)


def test_without_a_limit_it_is_everything() -> None:
    assert initial_window(history=None, now=NOW) == Window(EARLIEST, NOW)
