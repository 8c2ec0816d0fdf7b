"""The databases that an inbox can be in."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import PostgreSQL, postgresql_server

from makini_provider.webhooks.inbox import Inbox

from .rig import Rig


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server for many tests; those that end it have one of their own."""
    with postgresql_server({"fsync": "off"}) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases, of either kind, and returns their URL."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.new_database
    numbers = iter(range(1_000_000))
    return lambda: f"sqlite:///{tmp_path}/inbox-{next(numbers)}.db"


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    """An empty database."""
    return new_database()


@pytest.fixture
def open_inbox() -> Iterator[Callable[..., Inbox]]:
    """Opens inboxes, and closes them after the test."""
    with ExitStack() as opened:

        def open_inbox(url: str, **options: Any) -> Inbox:
            inbox = Inbox(url, **options)
            opened.callback(inbox.close)
            return inbox

        yield open_inbox


@pytest.fixture
def inbox(url: str, open_inbox: Callable[..., Inbox]) -> Inbox:
    return open_inbox(url)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(f"sqlite:///{tmp_path}/inbox.db")
    yield rig
    rig.inbox.close()


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(f"sqlite:///{tmp_path}/inbox.db", **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.inbox.close()


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
