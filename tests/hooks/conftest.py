"""A connection in the environment, and an API that writes down what it is sent."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

import pytest
from recording_server import RecordingServer

from makini_provider.hooks.makini import MakiniHook

TOKEN = "tok-4711-of-the-tests"


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., MakiniHook]:
    """Define the connection ``makini_default`` from its fields and return a hook of it."""

    def connect(
        *, password: str | None = TOKEN, conn_type: str | None = "makini", **fields: Any
    ) -> MakiniHook:
        fields = {"conn_type": conn_type, "password": password, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_MAKINI_DEFAULT", json.dumps(fields))
        return MakiniHook()

    return connect


@pytest.fixture
def hook(server: RecordingServer, connect: Callable[..., MakiniHook]) -> Iterator[MakiniHook]:
    """A hook whose API is the recording server."""
    with connect(host=server.url) as hook:
        yield hook
