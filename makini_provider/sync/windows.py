"""Half-open intervals of cursor-field time, and sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from makini_provider.api.errors import MakiniConfigurationError

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where "everything" begins. Records dated before it are found like those without a date."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """``[start, end)`` in UTC.

    :param start: first instant that belongs to it
    :param end: first instant that does not; after ``start``
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"window [{self.start}, {self.end}) is empty or reversed")

    def holds(self, instant: datetime) -> bool:
        """Whether the instant lies in the window."""
        return self.start <= instant < self.end

    def until(self, limit: datetime) -> Window | None:
        """The part of it that lies before ``limit``, if any."""
        return Window(self.start, min(self.end, limit)) if self.start < limit else None

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


def merge(windows: Iterable[Window]) -> list[Window]:
    """The same set of instants as the fewest windows, in order."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            if window.end > merged[-1].end:
                merged[-1] = Window(merged[-1].start, window.end)
        else:
            merged.append(window)
    return merged


def subtract(target: Window, covered: Iterable[Window]) -> list[Window]:
    """The parts of ``target`` that ``covered`` does not hold, in order."""
    missing: list[Window] = []
    start = target.start
    for window in merge(covered):
        if window.end <= start:
            continue
        if window.start >= target.end:
            break
        if window.start > start:
            missing.append(Window(start, window.start))
        start = window.end
    if start < target.end:
        missing.append(Window(start, target.end))
    return missing


def contiguous_end(covered: Iterable[Window], anchor: datetime) -> datetime:
    """How far ``covered`` reaches from ``anchor`` without a gap; ``anchor`` where it holds nothing there."""
    for window in merge(covered):
        if window.start <= anchor <= window.end:
            return window.end
    return anchor


def parse_time(name: str, value: datetime | str | None) -> datetime | None:
    """Read a time that a person or a DAG gave.

    :param name: the parameter's name, for the error
    :param value: a datetime or ISO 8601 text with a time zone; nothing (``None``, ``""``, ``"None"``: what a
        template leaves where there is no value) stays nothing
    :raises MakiniConfigurationError: it is no time, or has no time zone
    """
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    instant = value
    if isinstance(instant, str):
        try:
            instant = datetime.fromisoformat(instant.strip())
        except ValueError:
            raise MakiniConfigurationError(
                f"{name} is {value!r}, which is not an ISO 8601 time.",
                remedy="Write it like '2026-08-01T00:00:00Z'.",
            ) from None
    if not isinstance(instant, datetime):
        raise MakiniConfigurationError(
            f"{name} should be a time, not {type(value).__name__}.",
            remedy="Write it like '2026-08-01T00:00:00Z'.",
        )
    if instant.tzinfo is None:
        raise MakiniConfigurationError(
            f"{name} is {value!s}, which has no time zone, so that it could mean several instants.",
            remedy="Add one, such as 'Z' for UTC: '2026-08-01T00:00:00Z'.",
        )
    # Airflow hands over pendulum's datetimes; here they are plain ones.
    return datetime.fromisoformat(instant.astimezone(UTC).isoformat())


def parse_duration(name: str, value: timedelta | float | None, *, zero: bool = False) -> timedelta | None:
    """Check a duration that a DAG gave.

    :param name: the parameter's name, for the error
    :param value: a ``timedelta``, or a number of days
    :param zero: whether a duration of nothing makes sense here
    :raises MakiniConfigurationError: it is negative, nothing, or no duration
    """
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = timedelta(days=value)
    if not isinstance(value, timedelta):
        raise MakiniConfigurationError(
            f"{name} should be a timedelta or a number of days, not {type(value).__name__}.",
            remedy=f"Write it like {name}=timedelta(days=90).",
        )
    if value < timedelta(0) or (not value and not zero):
        raise MakiniConfigurationError(
            f"{name} is {value}, and must be {'at least 0' if zero else 'more than 0'}.",
            remedy=f"Write it like {name}=timedelta(days=90).",
        )
    return value
