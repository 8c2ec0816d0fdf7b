from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.sync.windows import (
    Window,
    contiguous_end,
    merge,
    parse_duration,
    parse_time,
    subtract,
)

ZERO = datetime(2026, 8, 1, tzinfo=UTC)


def hour(number: int) -> datetime:
    return ZERO + timedelta(hours=number)


windows = st.builds(
    lambda start, width: Window(hour(start), hour(start + width)), st.integers(0, 40), st.integers(1, 12)
)


def hours(some: list[Window]) -> set[int]:
    return {n for n in range(-5, 60) if any(window.holds(hour(n)) for window in some)}


@given(st.lists(windows, max_size=8))
def test_merging_keeps_the_instants_and_leaves_gaps_between_windows(some: list[Window]) -> None:
    merged = merge(some)
    assert hours(merged) == hours(some)
    assert all(one.end < other.start for one, other in pairwise(merged))


@given(windows, st.lists(windows, max_size=8))
def test_what_is_missing_and_what_is_covered_make_up_the_whole(target: Window, covered: list[Window]) -> None:
    missing = subtract(target, covered)
    assert hours(missing) == hours([target]) - hours(covered)


@given(st.lists(windows, max_size=8), st.integers(0, 50))
def test_contiguous_coverage_has_no_gap_before_its_end(covered: list[Window], anchor: int) -> None:
    end = contiguous_end(covered, hour(anchor))
    assert end >= hour(anchor)
    assert subtract(Window(hour(anchor), end), covered) == [] if end > hour(anchor) else True
    assert not any(window.start <= end < window.end for window in covered)


def test_a_window_without_width_is_no_window() -> None:
    with pytest.raises(ValueError, match="empty or reversed"):
        Window(hour(1), hour(1))


@pytest.mark.parametrize("nothing", [None, "", "None", "  "])
def test_what_a_template_leaves_for_nothing_is_nothing(nothing: str | None) -> None:
    assert parse_time("window_start", nothing) is None


def test_a_time_with_an_offset_is_told_in_utc() -> None:
    assert parse_time("window_start", "2026-08-01T02:00:00+02:00") == ZERO


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2026-08-01", "has no time zone"),
        (datetime(2026, 8, 1), "has no time zone"),  # noqa: DTZ001
        ("yesterday", "not an ISO 8601 time"),
        (5, "should be a time, not int"),
    ],
)
def test_a_time_that_could_be_several_instants_is_refused(value: object, told: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=told) as refused:
        parse_time("window_start", value)  # type: ignore[arg-type]
    assert "window_start" in str(refused.value)


@pytest.mark.parametrize("value", [timedelta(0), timedelta(days=-1), -1, 0])
def test_a_duration_of_nothing_or_less_is_refused(value: object) -> None:
    with pytest.raises(MakiniConfigurationError, match="history is"):
        parse_duration("history", value)  # type: ignore[arg-type]


def test_a_duration_may_be_a_number_of_days() -> None:
    assert parse_duration("history", 30) == timedelta(days=30)
