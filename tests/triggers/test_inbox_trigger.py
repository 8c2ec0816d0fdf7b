"""The trigger that wakes the DAG of webhooks up."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

import pytest
from airflow.triggers.base import BaseEventTrigger

from makini_provider.triggers.inbox import InboxTrigger
from makini_provider.webhooks.inbox import Inbox, Received

LEASE = timedelta(minutes=5)


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    url = f"sqlite:///{tmp_path}/inbox.db"
    monkeypatch.setenv("MAKINI_WEBHOOK_INBOX", url)
    return Inbox(url)


def put(inbox: Inbox, number: int = 1) -> None:
    for n in range(number):
        inbox.put(Received(endpoint="plant", payload=b"%d" % n, received_at=datetime.now(UTC)))


def drain(inbox: Inbox) -> None:
    for event in inbox.claim("test", limit=100, lease=LEASE):
        inbox.done(event)


async def watched(trigger: InboxTrigger, act: Callable[[list[float]], Awaitable[None]]) -> list[float]:
    """When the trigger said something, while things happen."""
    said: list[float] = []

    async def listen() -> None:
        async for event in trigger.run():
            assert event.payload == {"waiting": True}
            said.append(time.monotonic())

    listening = asyncio.create_task(listen())
    await act(said)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return said


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.005)


def test_many_webhooks_are_one_wake_up_and_the_next_ones_another(inbox: Inbox) -> None:
    async def act(said: list[float]) -> None:
        await asyncio.sleep(0.1)
        assert said == [], "nothing waits"
        put(inbox, 50)
        await until(lambda: len(said) == 1)
        await asyncio.sleep(0.1)
        assert len(said) == 1
        drain(inbox)
        await asyncio.sleep(0.1)
        put(inbox)
        await until(lambda: len(said) == 2)

    assert len(asyncio.run(watched(InboxTrigger(poll_seconds=0.01), act))) == 2


def test_it_says_again_what_still_waits(inbox: Inbox) -> None:
    put(inbox)

    async def act(said: list[float]) -> None:
        await until(lambda: len(said) == 3)

    first, second, _ = asyncio.run(watched(InboxTrigger(0.01, remind_seconds=0.2), act))
    assert second - first >= 0.2


def test_an_inbox_that_is_away_is_looked_at_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox)
    away = [True]
    waiting = Inbox.waiting

    def sometimes(self: Inbox) -> bool:
        if away[0]:
            raise OSError("no database")
        return waiting(self)

    monkeypatch.setattr(Inbox, "waiting", sometimes)

    async def act(said: list[float]) -> None:
        await asyncio.sleep(0.1)
        assert said == []
        away[0] = False
        await until(lambda: len(said) == 1)

    asyncio.run(watched(InboxTrigger(0.01), act))


def test_a_slow_database_does_not_hold_the_others_of_the_loop_up(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inbox, "waiting", lambda self: bool(time.sleep(0.3)))

    async def act(said: list[float]) -> None:
        await asyncio.sleep(0.05)
        before = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - before < 0.2

    asyncio.run(watched(InboxTrigger(0.01), act))


def test_it_can_be_made_again_from_what_is_stored_and_stores_no_secret(inbox: Inbox) -> None:
    path, arguments = InboxTrigger(3, 30).serialize()
    assert path == f"{InboxTrigger.__module__}.{InboxTrigger.__qualname__}"
    assert arguments == {"poll_seconds": 3, "remind_seconds": 30}
    assert isinstance(InboxTrigger(**arguments), BaseEventTrigger)
