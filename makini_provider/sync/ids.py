"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
from threading import Lock
from uuid import UUID

_lock = Lock()
_last = 0


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7), greater than all that this process has made before.

    Behind the milliseconds stand 12 bits that count within one (section 6.2, method 1), then random ones.
    """
    # uuid.uuid7() exists from Python 3.14 on.
    global _last  # noqa: PLW0603
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 12)
        milliseconds, count = _last >> 12, _last & 0xFFF
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | count << 64 | 0x2 << 62 | random))


def made_at(identifier: str) -> float:
    """When an identifier was made, in seconds since 1970 by its maker's clock.

    :raises ValueError: it is no UUID of version 7
    """
    uuid = UUID(identifier)
    if uuid.version != 7:
        raise ValueError(f"{identifier} is no UUID of version 7")
    return (uuid.int >> 80) / 1000
