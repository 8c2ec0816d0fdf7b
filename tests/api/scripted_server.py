"""A real HTTP server on loopback whose answers, good and broken, are scripted to the byte."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; ``connection`` tells which socket it came over."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Reply:
    """Bytes to write, and whether the connection is closed behind them."""

    pieces: Iterable[bytes]
    close: bool = False


Answer = Reply | Callable[[Seen], Reply]


def reply(status: int = 200, body: bytes | str = b"", /, **headers: str) -> Reply:
    """A well-formed answer; header names are written with ``_`` for ``-``."""
    content = body.encode() if isinstance(body, str) else body
    stated = {"Content-Length": str(len(content))} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in stated.items()), "", ""]
    return Reply([("\r\n".join(lines)).encode("latin-1") + content])


def as_json(value: Any, status: int = 200, /, **headers: str) -> Reply:
    return reply(status, json.dumps(value), **headers)


def raw(head: str, *pieces: bytes, close: bool = True) -> Reply:
    """An answer from its head's lines on, which need not fit what follows."""
    return Reply([head.replace("\n", "\r\n").encode() + b"\r\n\r\n", *pieces], close)


CUT: Reply = Reply([], close=True)
"""The connection is closed without an answer."""


class ScriptedServer(ThreadingHTTPServer):
    """Answers request after request from its script, then with :attr:`otherwise`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.script: deque[Answer] = deque()
        self.otherwise: Answer = as_json({"data": []})
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.connections = 0
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def then(self, *answers: Answer) -> None:
        self.script.extend(answers)

    def take(self, request: Seen) -> Reply:
        with self._lock:
            self.seen.append(request)
            answer = self.script.popleft() if self.script else self.otherwise
        return answer if isinstance(answer, Reply) else answer(request)

    def opened(self, connection: socket.socket) -> int:
        with self._lock:
            self._open.add(connection)
            self.connections += 1
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def drip(self, piece: bytes, seconds: float) -> Iterator[bytes]:
        """The same bytes again and again until the server stops."""
        while not self.stopping.wait(seconds):
            yield piece

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._number = self.server.opened(self.connection)

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        self.server.closed(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.take(Seen(self.command, self.path, self.headers, body, self._number))
        for piece in answer.pieces:
            self.wfile.write(piece)
        self.close_connection = answer.close

    do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be silent."""
