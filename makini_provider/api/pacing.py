"""How fast requests go out: one budget for all threads of a client."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

_SLOWEST_INTERVAL = 10.0
_FIRST_PENALTY = 0.25


class Pace:
    """Spaces requests evenly, slower after a 429 and faster again as answers come.

    :param requests_per_minute: the most that go out, or ``None`` for no limit of ours
    :param sleep: waits so many seconds; replaced by tests
    :param monotonic: tells the time in seconds; replaced by tests
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fastest = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._interval = self._fastest
        self._next = 0.0
        self._lock = Lock()
        self._sleep = sleep
        self._monotonic = monotonic

    def wait(self) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = self._monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)

    def slower(self) -> None:
        """Halve the rate: the server said 429."""
        with self._lock:
            longer = min(max(self._interval * 2, _FIRST_PENALTY), _SLOWEST_INTERVAL)
            self._interval = max(longer, self._fastest)

    def faster(self) -> None:
        """Win back a tenth of the rate: an answer came."""
        with self._lock:
            shorter = self._interval * 0.9
            self._interval = shorter if shorter > max(self._fastest, 0.01) else self._fastest
