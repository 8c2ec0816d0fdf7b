"""Events for tests, and time that passes at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, text

from makini_provider.webhooks.inbox import Event, Inbox, Received

LEASE = timedelta(minutes=5)


def received(payload: bytes = b'{"event": "assets.updated", "body": ["A-1"]}', **fields: Any) -> Received:
    fields = {"endpoint": "plant", "received_at": datetime.now(UTC), **fields}
    return Received(payload=payload, **fields)


def claim(inbox: Inbox, limit: int = 100) -> list[Event]:
    return inbox.claim("worker", limit=limit, lease=LEASE)


def let_time_pass(url: str) -> None:
    """All leases and pauses are over."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE makini_inbox SET due_at = received_at WHERE finished_at IS NULL"))
    engine.dispose()
