"""The sandbox's time: it runs like a clock, or stands where a test has set it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def iso(moment: datetime) -> str:
    """Write a moment as the API does: ``2026-08-01T10:15:30.000000Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class Clock:
    """
    The server's clock.

    :param start: the time it shows at first; it runs on from there. The real time when not given.
    """

    def __init__(self, start: datetime | None = None) -> None:
        real = datetime.now(UTC)
        self._ahead = (start or real) - real
        self._still: datetime | None = None
        self._last = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time; never earlier than a stamp that was given out."""
        return max(self._still or datetime.now(UTC) + self._ahead, self._last)

    def stamp(self) -> datetime:
        """Return the time of a change: later than every stamp before it."""
        self._last = max(self.now(), self._last + MICROSECOND)
        return self._last

    def set(self, moment: datetime) -> None:
        """Stop the clock at a moment; stamps start there again, even if it lies in the past."""
        self._still = moment.astimezone(UTC)
        self._last = self._still - MICROSECOND

    def advance(self, step: timedelta) -> None:
        """Move the clock, whether it stands or runs."""
        if self._still is None:
            self._ahead += step
        else:
            self._still = self.now() + step
