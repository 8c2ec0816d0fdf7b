"""The server's clock, as far as its answers tell it."""

from __future__ import annotations

import time
from datetime import MAXYEAR, UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock


def parse_http_date(text: str) -> datetime | None:
    """Read an HTTP date (RFC 9110, section 5.6.7); ``None`` where it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


class ServerClock:
    """Tells the time by the ``Date`` headers of a server's answers (RFC 9110, section 6.6.1).

    A header is cut to the second and older than its arrival, so each gives a lower bound of the server's
    time; the highest bound counts. What :meth:`now` tells has therefore passed on the server too, which
    is what the end of a window needs. Before the first answer it is this machine's clock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._bound: float | None = None

    def observe(self, date_header: str | None) -> None:
        """Take the ``Date`` of an answer that has just arrived; a missing or malformed one is passed over."""
        stated = parse_http_date(date_header or "")
        if stated is None or stated.year == MAXYEAR:  # after which :meth:`now` could tell no time
            return
        bound = stated.timestamp() - time.monotonic()
        with self._lock:
            self._bound = bound if self._bound is None else max(self._bound, bound)

    def now(self) -> datetime:
        """The server's time: not later than the truth, and at most about a second earlier."""
        return self.at(time.monotonic())

    def at(self, moment: float) -> datetime:
        """The server's time at a moment of ``time.monotonic()``; :meth:`now` says how exact it is."""
        if self._bound is None:
            return datetime.fromtimestamp(time.time() - time.monotonic() + moment, UTC)
        return datetime.fromtimestamp(moment + self._bound, UTC)

    @property
    def is_told(self) -> bool:
        """Whether any answer has told the time."""
        return self._bound is not None

    def skew(self) -> float:
        """Seconds by which the server is ahead of this machine; under two seconds means nothing."""
        return (self.now() - datetime.now(UTC)).total_seconds()
