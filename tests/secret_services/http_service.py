"""A server for the APIs of this folder: threads, a loopback port, and a switch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]


class HttpService:
    """An HTTP API whose answers a subclass gives."""

    def __init__(self) -> None:
        self.is_down = False
        self.is_read_only = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            rbufsize = 0  # nothing of a TLS handshake may be read ahead

            def do_GET(self) -> None:
                service.respond(self)

            def do_POST(self) -> None:
                service.respond(self)

            def do_PUT(self) -> None:
                service.respond(self)

            def do_CONNECT(self) -> None:
                service.tunnel(self)

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @contextmanager
    def serving(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @contextmanager
    def down(self) -> Iterator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self.is_read_only = True
        try:
            yield
        finally:
            self.is_read_only = False

    def answer(self, method: str, host: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        """Return status, headers and JSON of an answer."""
        raise NotImplementedError

    def tunnel(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer ``CONNECT``."""
        handler.send_error(405)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        text = handler.rfile.read(length) if length else b""
        if self.is_down:
            handler.close_connection = True
            return
        try:
            body = json.loads(text) if text else None
        except ValueError:
            body = text.decode()
        headers = {name.lower(): value for name, value in handler.headers.items()}
        path = handler.path.partition("?")[0]
        status, more, content = self.answer(handler.command, headers.get("host", ""), path, headers, body)
        payload = b"" if content is None else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **more}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)
