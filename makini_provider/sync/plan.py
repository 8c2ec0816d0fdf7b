"""Which window a run reads, and how much of it counts: pure decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from makini_provider.api.client import Integration
from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.records import format_instant, parse_instant
from makini_provider.sync.windows import EARLIEST, Window


@dataclass(frozen=True, slots=True)
class RunInterval:
    """What Airflow says about a run.

    :param start: start of its data interval, where it has one
    :param end: end of its data interval, where it has one
    :param logical_date: of the run, where it has one
    :param scheduled: whether the schedule or a backfill made it; a run that a person or another run started
        means "up to this moment"
    """

    start: datetime | None = None
    end: datetime | None = None
    logical_date: datetime | None = None
    scheduled: bool = True


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a read that begins now can be trusted to see.

    :param now: the server's clock before the first page
    :param covered_until: no window counts as covered beyond this
    :param upstream_completed_at: end of Makini's own last completed sync, as far as known
    :param reason: why ``covered_until`` is what it is, for people
    """

    now: datetime
    covered_until: datetime
    upstream_completed_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """The state of Makini's own sync, and when it was asked for.

    It may be handed from task to task: what it tells is then older, so that less counts as covered.

    :param integration: the state
    :param asked_at: the server's clock then
    :param skew: how far the server's clock was ahead of that of the machine that asked
    """

    integration: Integration
    asked_at: datetime
    skew: timedelta = timedelta(0)

    def as_json(self) -> dict[str, Any]:
        """The state as values that JSON has."""
        updated = self.integration.sync_updated_at
        return {
            "sync_status": self.integration.sync_status,
            "sync_updated_at": None if updated is None else format_instant(updated),
            "asked_at": format_instant(self.asked_at),
            "skew_seconds": self.skew.total_seconds(),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Upstream:
        """The state that :meth:`as_json` wrote."""
        return cls(
            Integration(told["sync_status"], parse_instant(told["sync_updated_at"]), {}),
            datetime.fromisoformat(told["asked_at"]),
            timedelta(seconds=told["skew_seconds"]),
        )


def look_ahead(integration: Integration, *, now: datetime, known: datetime | None) -> Horizon:
    """Decide how far coverage may reach, from the state of Makini's own sync with the connected system.

    What has not arrived at Makini can't be covered here: a record changed at 10:05 may first be visible at
    11:00.

    :param integration: the state, asked before the first page
    :param now: the server's clock
    :param known: end of the last completed sync that any earlier run has seen
    """
    completed = integration.completed_at
    if completed is not None:
        seen = max(completed, known) if known else completed
        return Horizon(now, min(now, completed), seen, f"Makini's own last sync completed at {completed}")
    state = integration.sync_status or "unknown"
    if known is not None:
        return Horizon(
            now,
            min(now, known),
            known,
            f"Makini's own sync is {state!r}; the last completed one seen ended at {known}",
        )
    return Horizon(
        now,
        now,
        None,
        f"Makini's own sync is {state!r} and no completed one was ever seen: lookback alone protects against "
        "what arrives late",
    )


def initial_window(
    *,
    history: timedelta | None,
    now: datetime,
    window_start: datetime | None = None,
    window_end: datetime | None = None,
) -> Window:
    """The window of an initial sync.

    :param history: how far it goes back; ``None`` for everything
    :param now: the server's clock before the first page
    :param window_start: takes the place of the start
    :param window_end: takes the place of the end, which is now
    :raises MakiniConfigurationError: start and end are reversed, or lie in the future
    """
    start = EARLIEST if history is None else max(now - history, EARLIEST)
    start = start if window_start is None else window_start
    end = now if window_end is None else min(window_end, now)
    return _checked(start, end, now)


def incremental_window(
    interval: RunInterval,
    *,
    watermark: datetime,
    lookback: timedelta,
    now: datetime,
    skew: timedelta = timedelta(0),
    window_start: datetime | None = None,
    window_end: datetime | None = None,
) -> Window | None:
    """The window of an incremental sync.

    It begins at the earlier of the data interval's start and the watermark, less ``lookback``, and ends at
    the interval's end. A run that somebody started means "up to this moment". A run without an interval, or
    with one of no width, goes from the watermark to now. Nothing ends after the server's clock: what is
    changed later is not there yet.

    :param interval: what Airflow says about the run
    :param watermark: everything before it is at the destination
    :param lookback: how far the start is pulled back, to catch what arrived late
    :param now: the server's clock
    :param skew: how far the server's clock is ahead of the one that the logical date was read from
    :param window_start: takes the place of the start, as it is
    :param window_end: takes the place of the end
    :return: the window, or ``None`` where there is no time to read
    :raises MakiniConfigurationError: start and end are reversed, or lie in the future
    """
    if interval.start is not None and interval.end is not None and interval.start < interval.end:
        start = min(interval.start, watermark)
        end = interval.end
        if not interval.scheduled and interval.logical_date is not None:
            end = max(end, interval.logical_date + skew)
    else:
        start, end = watermark, now
    start = start - lookback if window_start is None else window_start
    end = min(end if window_end is None else window_end, now)
    if start >= end and window_start is None and window_end is None:
        return None
    return _checked(start, end, now)


def _checked(start: datetime, end: datetime, now: datetime) -> Window:
    if start < end:
        return Window(start, end)
    if start >= now:
        raise MakiniConfigurationError(
            f"window_start {start.isoformat()} lies in the future: at the server it is {now.isoformat()}.",
            remedy="Give an earlier time.",
        )
    raise MakiniConfigurationError(
        f"window_start {start.isoformat()} is not before window_end {end.isoformat()}.",
        remedy="Give a window_start that is earlier than window_end; each falls back to the run's own.",
    )
