"""The receiver behind a real server and a real socket, where anybody may send anything."""

from __future__ import annotations

import resource
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .asgi import serving, status_of, talk
from .rig import ALLOWED, BODY, Rig, signed

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["h11", "httptools"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Rig]]:
    rig = Rig(f"sqlite:///{tmp_path_factory.mktemp('served')}/inbox.db", body_seconds=1)
    with serving(rig.receiver, http=request.param) as port:
        yield port, rig
    rig.inbox.close()


def head(*lines: bytes, length: int | None = None, method: bytes = b"POST") -> bytes:
    stated = [] if length is None else [b"content-length: %d" % length]
    return b"\r\n".join([method + b" /makini/webhooks/plant HTTP/1.1", b"host: x", *stated, *lines, b"", b""])


def _signature(body: bytes) -> bytes:
    ((name, value),) = signed(body)
    return name + b": " + value


def test_a_signed_webhook_arrives(served: tuple[int, Rig]) -> None:
    port, rig = served
    body = BODY.replace(b"A-1", b"A-2")
    assert status_of(talk(port, head(_signature(body), b"connection: close", length=len(body)) + body)) == 200
    assert body in rig.kept()


def test_a_hundred_megabytes_are_413_and_leave_no_trace_in_memory(served: tuple[int, Rig]) -> None:
    port, _ = served
    before = _peak_memory()
    piece = b"x" * MIB
    assert status_of(talk(port, head(length=100 * MIB), *[piece] * 100)) == 413
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    assert status_of(talk(port, head(b"transfer-encoding: chunked"), *[chunk] * 100, b"0\r\n\r\n")) == 413
    assert _peak_memory() - before < 30 * MIB


def test_endless_headers_end_at_64_kib(tmp_path: Path) -> None:
    """With h11, which the documentation recommends: the other parser takes any number of them."""
    rig = Rig(f"sqlite:///{tmp_path}/inbox.db")
    with serving(rig.receiver, http="h11") as port:
        before = _peak_memory()
        lines = b"".join(b"x%d: %b\r\n" % (n, b"y" * 1_000) for n in range(100))
        assert status_of(talk(port, b"POST /makini/webhooks/plant HTTP/1.1\r\n", *[lines] * 300)) == 400
        assert _peak_memory() - before < 15 * MIB
    rig.inbox.close()


def test_a_body_that_never_ends_is_408(served: tuple[int, Rig]) -> None:
    port, _ = served
    started = time.monotonic()
    assert status_of(talk(port, head(length=10) + b"x")) == 408
    assert time.monotonic() - started < 5


def test_slow_senders_hold_up_nobody_else(served: tuple[int, Rig]) -> None:
    port, rig = served
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for connection in slow:
        connection.sendall(head(length=10) + b"x")
    started = time.monotonic()
    assert status_of(talk(port, head(_signature(BODY), b"connection: close", length=len(BODY)) + BODY)) == 200
    assert time.monotonic() - started < 0.9
    for connection in slow:
        assert status_of(connection.recv(1_000)) == 408
        connection.close()
    assert rig.kept() == [BODY]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"POST /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        head(b"content-length: 5", length=6) + b"12345",
        head(b"transfer-encoding: chunked") + b"zz\r\n",
        head(b"transfer-encoding: chunked", length=5) + b"12345",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /makini/webhooks/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        head(b"upgrade: websocket", b"connection: upgrade"),
        head(length=0, method=b"TRACE"),
        head(length=0, method=b"M\xffTHOD"),
    ],
    ids=[
        "long header", "many headers", "long path", "two lengths", "broken chunk", "length and chunks",
        "TLS", "path no text", "websocket", "TRACE", "odd method",
    ],
)  # fmt: skip
def test_broken_http_is_refused(served: tuple[int, Rig], sent: bytes) -> None:
    port, rig = served
    answer = talk(port, sent)
    # Some servers hang up on what is no HTTP.
    assert answer == b"" or status_of(answer) in ALLOWED | {403, 404}, answer[:200]
    assert b"Traceback" not in answer
    assert b"makini" not in answer.lower()
    assert rig.kept() == []


@given(sent=st.binary(max_size=400), framed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_refused(served: tuple[int, Rig], sent: bytes, framed: bool) -> None:
    port, rig = served
    if framed:
        sent = (
            head(b"x-webhook-signature: " + sent.replace(b"\n", b"").replace(b"\r", b""), length=len(sent))
            + sent
        )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1_000)
    assert answer == b"" or status_of(answer) in ALLOWED | {404}
    assert rig.inbox.counts().waiting == 0


def test_many_senders_at_once_are_all_answered(served: tuple[int, Rig]) -> None:
    port, rig = served

    def send(number: int) -> int:
        body = b'{"event": "e", "body": [%d]}' % number
        forged = number % 5 == 0
        line = b"x-webhook-signature: forged" if forged else _signature(body)
        return status_of(talk(port, head(line, b"connection: close", length=len(body)) + body))

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(send, range(100)))
    assert (statuses.count(200), statuses.count(401)) == (80, 20)
    assert len(rig.kept()) == 80


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
