"""A real HTTP server that answers as it is told and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Received:
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def records(*rows: dict[str, Any], page: int = 1, last_page: int = 1, total: int | None = None) -> Reply:
    """A page of a list."""
    total = len(rows) if total is None else total
    to = total if page == last_page else len(rows) * page
    meta = {"current_page": page, "last_page": last_page, "total": total, "to": to}
    return Reply({"data": list(rows), "links": {"next": "x" if page < last_page else None}, "meta": meta})


class RecordingServer:
    """Answers the requests with ``replies`` in turn; the last one stays."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: list[Reply] = [records()]
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                target = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.received.append(
                    Received(self.command, target.path, dict(parse_qsl(target.query)), self.headers, body)
                )
                reply = server.replies.pop(0) if len(server.replies) > 1 else server.replies[0]
                payload = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  (names that http.server calls)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler
