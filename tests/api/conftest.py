from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_server import ScriptedServer

from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.client import MakiniClient
from makini_provider.api.transport import Transport, TransportSettings

TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0.S3cr3t/T0ken+x"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, CA bundle or ``.netrc`` of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def other_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def sleeps() -> list[float]:
    """What the transport would have waited."""
    return []


@pytest.fixture
def connect(server: ScriptedServer, sleeps: list[float]) -> Iterator[Callable[..., Transport]]:
    """Make transports to the server (or another ``base_url``), with any settings; none of them sleeps."""
    opened: list[Transport] = []

    def make(base_url: str | None = None, *, pace: Any = None, **settings: Any) -> Transport:
        url = base_url or server.url
        transport = Transport(
            url,
            BearerAuth(StaticToken(TOKEN), url),
            TransportSettings(**{"timeout": 5.0} | settings),
            pace=pace,
            sleep=sleeps.append,
        )
        opened.append(transport)
        return transport

    yield make
    for transport in opened:
        transport.close()


@pytest.fixture
def transport(connect: Callable[..., Transport]) -> Transport:
    return connect()


@pytest.fixture
def client(transport: Transport) -> MakiniClient:
    return MakiniClient(transport)
