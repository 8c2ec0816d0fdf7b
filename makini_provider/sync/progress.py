"""What the log shows while a long read runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from makini_provider.sync.walking import Batch
from makini_provider.sync.windows import Window

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts what has been read, and logs it now and then.

    :param stream: name of what is read
    :param monotonic: tells the time in seconds; replaced by tests
    """

    def __init__(self, stream: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._lock = Lock()
        self._started = self._last_line = monotonic()
        self._expected: dict[Window | None, int] = {}
        self.pages = 0
        self.records = 0
        self.bytes = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._monotonic() - self._started

    def count(self, batch: Batch, window: Window | None = None) -> None:
        """Count a batch in, and write a line if it is time."""
        with self._lock:
            if window not in self._expected and batch.remaining is not None:
                self._expected[window] = len(batch.records) + batch.remaining
            self.pages += 1
            self.records += len(batch.records)
            self.bytes += sum(len(record.raw) for record in batch.records)
            now = self._monotonic()
            if now - self._last_line < SECONDS_BETWEEN_LINES:
                return
            self._last_line = now
        rate = self.records / max(self.seconds, 0.001)
        log.info(
            "%s: %s records in %s pages, %.0f records/s%s%s",
            self._stream,
            f"{self.records:,}",
            f"{self.pages:,}",
            rate,
            f", {self._share():.0%} done" if self._expected else "",
            f", window {window}" if window else "",
        )

    def _share(self) -> float:
        return min(self.records / max(sum(self._expected.values()), 1), 1.0)
