"""A bound on what webhooks may take from a process that has other work to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_HELD: Final = 200
_SECONDS_HELD: Final = 1.0


class Limiter:
    """So many requests a second are looked at; the others are sent away late, and unread.

    Who floods over a number of connections waits for each answer: the later it comes, the fewer requests
    there are. Waiting costs a timer.

    :param rate: requests a second; as many may come at once after a pause
    :param clock: seconds that only grow
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = rate
        self._at = clock()
        self._held = 0

    async def admit(self) -> bool:
        """Whether the request may be looked at."""
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return True
        if self._held < _HELD:
            self._held += 1
            try:
                await asyncio.sleep(_SECONDS_HELD)
            finally:
                self._held -= 1
        return False
