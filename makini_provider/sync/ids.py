"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7): milliseconds, then random bits."""
    # uuid.uuid7() exists from Python 3.14 on.
    value = int.from_bytes((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(UUID(int=value))


def made_at(identifier: str) -> float:
    """When an identifier was made, in seconds since 1970 by its maker's clock.

    :raises ValueError: it is no UUID of version 7
    """
    uuid = UUID(identifier)
    if uuid.version != 7:
        raise ValueError(f"{identifier} is no UUID of version 7")
    return (uuid.int >> 80) / 1000
