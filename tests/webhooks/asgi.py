"""Requests to an ASGI application: in this process, or through a real server and a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def request(
    app: Any,
    method: str = "POST",
    path: str = "/makini/webhooks/plant",
    *,
    headers: Headers = (),
    body: bytes | Sequence[bytes] = b"",
    pause: float = 0,
    hangs_up: bool = False,
    root_path: str = "",
) -> Answer | None:
    """Send a request into an application; ``None`` where it did not answer.

    :param body: in one piece or in several
    :param pause: seconds before each piece
    :param hangs_up: after the last piece, of which more should come
    """
    pieces = [body] if isinstance(body, bytes) else list(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces) or hangs_up}
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "headers": list(headers),
        "query_string": b"",
    }
    await app(scope, receive, send)
    if not sent:
        return None
    start, *rest = sent
    body_sent = b"".join(message["body"] for message in rest)
    return Answer(start["status"], dict(start["headers"]), body_sent)


@contextlib.asynccontextmanager
async def alive(app: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """An application between its start and its end; gives what it says about them."""
    said: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        said.append(message)
        heard.set()

    living = asyncio.create_task(app({"type": "lifespan"}, inbox.get, send))
    await inbox.put({"type": "lifespan.startup"})
    await heard.wait()
    try:
        yield said
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        if not said[0]["type"].endswith("failed"):
            await living


@contextlib.contextmanager
def serving(app: Any, *, http: str = "h11", **options: Any) -> Iterator[int]:
    """A uvicorn of its own thread; gives its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=http, lifespan="on", log_level="critical", **options)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                thread.join(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server did not end"


def talk(port: int, *pieces: bytes, timeout: float = 30) -> bytes:
    """Send bytes to a server, and return all that comes back until it closes or nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        return b"".join(_answers(connection))


def _answers(connection: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while chunk := connection.recv(65_536):
            yield chunk
            connection.settimeout(0.3)


def status_of(answer: bytes) -> int:
    """The status of what a server has sent."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])
