"""Transport: what it sends, when it sends it again, and what it refuses to take."""

from __future__ import annotations

import gzip
import logging
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from scripted_server import CUT, Reply, ScriptedServer, Seen, as_json, raw, reply

from makini_provider.api.errors import (
    AnswerTooLargeError,
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniError,
    MakiniProtocolError,
    MakiniRateLimitError,
    MakiniServerError,
    MakiniStatusError,
    MakiniUnauthorizedError,
    MalformedAnswerError,
)
from makini_provider.api.pacing import Pace
from makini_provider.api.transport import RetryPolicy, Transport

Connect = Callable[..., Transport]
ONCE = RetryPolicy(attempts=1)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# What is sent


def test_the_path_is_appended_to_the_base_url(server: ScriptedServer, connect: Connect) -> None:
    connect(f"{server.url}/gateway/").request("GET", "/api/eam/assets")
    assert server.seen[0].target == "/gateway/api/eam/assets"


@pytest.mark.parametrize(
    "path", ["api/eam/assets", "//elsewhere/x", "https://elsewhere/x", "", "@elsewhere/x"]
)
def test_a_path_that_could_name_another_host_is_refused(
    server: ScriptedServer, transport: Transport, path: str
) -> None:
    with pytest.raises(MakiniConfigurationError, match="must start with one '/'"):
        transport.request("GET", path)
    assert server.seen == []


def test_parameters_are_sent_in_their_order(server: ScriptedServer, transport: Transport) -> None:
    transport.request("GET", "/x", query=[("b", "1 & 2"), ("a", "é"), ("b", "3")])
    assert server.seen[0].target == "/x?b=1+%26+2&a=%C3%A9&b=3"


def test_requests_ask_for_json_and_say_who_asks(server: ScriptedServer, transport: Transport) -> None:
    transport.request("GET", "/x")
    headers = server.seen[0].headers
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("airflow-provider-makini/")
    assert headers["Accept-Encoding"] == "gzip, deflate"


def test_a_payload_is_sent_as_json(server: ScriptedServer, transport: Transport) -> None:
    transport.request("POST", "/x", json={"name": "Pümpe"})
    assert server.seen[0].headers["Content-Type"] == "application/json"
    assert b'{"name"' in server.seen[0].body


def test_a_payload_with_nan_is_a_configuration_error(server: ScriptedServer, transport: Transport) -> None:
    with pytest.raises(MakiniConfigurationError, match="payload"):
        transport.request("POST", "/x", json={"n": float("nan")})
    assert server.seen == []


def test_the_answer_carries_status_headers_body_and_the_time_of_asking(
    server: ScriptedServer, transport: Transport
) -> None:
    server.then(reply(200, Date="Wed, 01 Jan 2020 10:00:00 GMT"), reply(201, "made", X_Thing="7"))
    transport.request("GET", "/first")
    answer = transport.request("POST", "/second", json={})
    assert (answer.status, answer.headers["x-thing"], answer.body) == (201, "7", b"made")
    assert answer.asked_at.replace(microsecond=0) == datetime(2020, 1, 1, 10, tzinfo=UTC)


def test_one_connection_serves_many_requests(server: ScriptedServer, transport: Transport) -> None:
    server.then(
        reply(200, "plain"),
        raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n", close=False),
        reply(200, gzip.compress(b"x" * 300_000), Content_Encoding="gzip"),
        reply(200),
        reply(503, "busy"),
        reply(200, "x" * 300_000),
    )
    bodies = [transport.request("GET", "/x").body for _ in range(5)]
    assert [len(body) for body in bodies] == [5, 2, 300_000, 0, 300_000]
    assert {seen.connection for seen in server.seen} == {1}


def test_eight_threads_share_one_transport(server: ScriptedServer, transport: Transport) -> None:
    def echo(seen: Seen) -> Reply:
        return reply(200, seen.target)

    server.otherwise = echo
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: transport.request("GET", f"/{n}").body, range(200)))
    assert bodies == [f"/{n}".encode() for n in range(200)]
    assert transport.requests_sent == 200
    assert server.connections <= 8


# The session, also where it is used directly


def timeouts_seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    send = requests.adapters.HTTPAdapter.send

    def spy(self: Any, request: Any, stream: Any, timeout: Any, *args: Any) -> Any:
        seen.append(timeout)
        return send(self, request, stream, timeout, *args)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", spy)
    return seen


def test_every_request_has_a_timeout(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = timeouts_seen(monkeypatch)
    connect(timeout=7.0).request("GET", "/x")
    connect(timeout=90.0).request("GET", "/x")
    assert seen == [(7.0, 7.0), (10.0, 90.0)]


def test_a_request_on_the_session_itself_has_a_timeout(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = timeouts_seen(monkeypatch)
    session = connect(timeout=7.0).session
    session.get(f"{server.url}/x").close()
    session.get(f"{server.url}/x", timeout=3).close()
    session.send(session.prepare_request(requests.Request("GET", f"{server.url}/x"))).close()
    assert seen == [(7.0, 7.0), 3, (7.0, 7.0)]


def test_cookies_are_not_kept(server: ScriptedServer, transport: Transport) -> None:
    server.otherwise = reply(200, Set_Cookie="session=1; Path=/")
    transport.request("GET", "/x")
    transport.request("GET", "/x")
    assert server.seen[1].headers["Cookie"] is None
    assert len(transport.session.cookies) == 0


def test_a_redirect_is_reported_and_not_followed(
    server: ScriptedServer, other_server: ScriptedServer, transport: Transport, sleeps: list[float]
) -> None:
    server.otherwise = reply(302, Location=f"{other_server.url}/login", X_Request_Id="r-1")
    with pytest.raises(MakiniProtocolError, match="redirect") as caught:
        transport.request("GET", "/x")
    assert (caught.value.status, caught.value.request_id) == (302, "r-1")
    assert len(server.seen) == 1
    assert other_server.seen == []
    assert sleeps == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_by_the_session_itself(
    server: ScriptedServer, other_server: ScriptedServer, transport: Transport, status: int
) -> None:
    server.otherwise = reply(status, Location=f"{other_server.url}/login")
    with transport.session.get(f"{server.url}/x") as response:
        assert response.status_code == status
    assert other_server.seen == []


def test_the_environments_proxy_is_used(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    connect("http://makini.invalid").request("GET", "/x")
    assert server.seen[0].target == "http://makini.invalid/x"


def test_no_proxy_of_the_environment_is_obeyed(
    server: ScriptedServer, other_server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, other_server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    connect().request("GET", "/x")
    assert (len(server.seen), len(other_server.seen)) == (1, 0)


def test_a_token_for_this_machine_does_not_leave_it_through_a_proxy_of_the_environment(
    server: ScriptedServer, other_server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other_server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    transport = connect()
    transport.request("GET", "/x")
    transport.session.get(f"{server.url}/x").close()
    assert (len(server.seen), len(other_server.seen)) == (2, 0)


def test_the_connections_proxy_outranks_the_environments(
    server: ScriptedServer, other_server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, other_server.url)
    transport = connect("http://makini.invalid", proxies={"http": server.url})
    transport.request("GET", "/x")
    transport.session.get("http://makini.invalid/x").close()
    assert (len(server.seen), len(other_server.seen)) == (2, 0)


# When a request is repeated


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_get_is_repeated_after(
    server: ScriptedServer, transport: Transport, sleeps: list[float], status: int
) -> None:
    server.then(reply(status), reply(status), reply(200, "there"))
    assert transport.request("GET", "/x").body == b"there"
    assert len(sleeps) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422])
def test_a_get_is_not_repeated_after(
    server: ScriptedServer, transport: Transport, sleeps: list[float], status: int
) -> None:
    server.otherwise = reply(status)
    with pytest.raises(MakiniStatusError):
        transport.request("GET", "/x")
    assert len(server.seen) == 1
    assert sleeps == []


def test_the_last_failure_is_raised_when_the_attempts_are_used_up(
    server: ScriptedServer, connect: Connect, sleeps: list[float]
) -> None:
    server.otherwise = as_json({"message": "down"}, 503)
    with pytest.raises(MakiniServerError, match="down"):
        connect(retry=RetryPolicy(attempts=4)).request("GET", "/x")
    assert len(server.seen) == 4
    assert len(sleeps) == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("failure", [reply(500), reply(503), CUT])
def test_what_may_have_been_carried_out_is_not_repeated(
    server: ScriptedServer, transport: Transport, method: str, failure: Reply
) -> None:
    server.then(failure)
    with pytest.raises((MakiniServerError, MakiniConnectionError)):
        transport.request(method, "/x", json={})
    assert len(server.seen) == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_a_429_refused_is_repeated(server: ScriptedServer, transport: Transport, method: str) -> None:
    server.then(reply(429, Retry_After="1"), reply(201, "made"))
    assert transport.request(method, "/x", json={"a": 1}).body == b"made"
    assert [seen.body for seen in server.seen] == [b'{"a": 1}'] * 2


def test_a_refused_connection_is_retried_and_then_reported(connect: Connect, sleeps: list[float]) -> None:
    port = closed_port()
    with pytest.raises(MakiniConnectionError, match="ConnectionRefusedError") as caught:
        connect(f"http://127.0.0.1:{port}", retry=RetryPolicy(attempts=3)).request("GET", "/x")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert len(sleeps) == 2


def test_a_name_that_does_not_resolve_is_a_connection_error(connect: Connect) -> None:
    with pytest.raises(MakiniConnectionError, match=r"makini\.invalid"):
        connect("http://makini.invalid", retry=ONCE).request("GET", "/x")


@pytest.mark.parametrize("base_url", ["api.makini.io", "ftp://api.makini.io", "http://"])
def test_a_base_url_that_can_not_be_used_is_not_retried(
    connect: Connect, sleeps: list[float], base_url: str
) -> None:
    with pytest.raises(MakiniConfigurationError):
        connect(base_url).request("GET", "/x")
    assert sleeps == []


def test_a_repetition_is_logged_with_its_cause(
    server: ScriptedServer, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    server.then(as_json({"code": "BUSY"}, 503), reply())
    with caplog.at_level(logging.WARNING):
        transport.request("GET", "/x")
    assert "BUSY" in caplog.text
    assert "Trying again in" in caplog.text


# How long is waited


def delays(
    policy: RetryPolicy, attempt: int, error: MakiniError, *, waited: float = 0.0
) -> list[float | None]:
    return [policy.delay(attempt, error, waited=waited) for _ in range(400)]


@pytest.mark.parametrize(("attempt", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0)])
def test_a_wait_is_drawn_from_zero_to_a_bound_that_doubles_up_to_the_cap(attempt: int, bound: float) -> None:
    waits = [d for d in delays(RetryPolicy(cap=4.0), attempt, MakiniServerError("x")) if d is not None]
    assert len(waits) == 400
    assert 0 <= min(waits) < 0.1 * bound
    assert 0.9 * bound < max(waits) <= bound


def test_retry_after_seconds_are_waited_and_no_less(
    server: ScriptedServer, transport: Transport, sleeps: list[float]
) -> None:
    server.then(reply(429, Retry_After="7"), reply())
    transport.request("GET", "/x")
    assert 7 <= sleeps[0] <= 7.5


def test_a_retry_after_date_is_waited_for(
    server: ScriptedServer, transport: Transport, sleeps: list[float]
) -> None:
    when = datetime.now(UTC) + timedelta(seconds=30)
    server.then(reply(503, Retry_After=format_datetime(when, usegmt=True)), reply())
    transport.request("GET", "/x")
    assert 27 <= sleeps[0] <= 30.5


@pytest.mark.parametrize("nonsense", ["soon", "-5", "nan", "inf", "", "1e999", "Mon, 99 Foo"])
def test_a_nonsensical_retry_after_falls_back_to_our_own_wait(
    server: ScriptedServer, transport: Transport, sleeps: list[float], nonsense: str
) -> None:
    server.then(reply(429, Retry_After=nonsense), reply())
    transport.request("GET", "/x")
    assert 0 <= sleeps[0] <= 0.5


def test_retry_after_beyond_the_budget_is_handed_back(
    server: ScriptedServer, transport: Transport, sleeps: list[float]
) -> None:
    server.otherwise = reply(429, Retry_After="3600")
    with pytest.raises(MakiniRateLimitError) as caught:
        transport.request("GET", "/x")
    assert caught.value.retry_after == 3600
    assert caught.value.retryable
    assert sleeps == []
    assert len(server.seen) == 1


def test_all_waits_of_one_request_stay_within_the_budget(
    server: ScriptedServer, connect: Connect, sleeps: list[float]
) -> None:
    server.otherwise = reply(429, Retry_After="8")
    with pytest.raises(MakiniRateLimitError):
        connect(retry=RetryPolicy(attempts=50, budget=30.0)).request("GET", "/x")
    assert len(sleeps) == 3
    assert sum(sleeps) <= 30


# Bodies that are too much, too slow, or not whole


def gzipped_zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(2**20)
    return b"".join([*(packer.compress(zeros) for _ in range(mebibytes)), packer.flush()])


def chunked(body: bytes) -> Reply:
    return raw(
        "HTTP/1.1 200 OK\nContent-Encoding: gzip\nTransfer-Encoding: chunked",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    )


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gzip_bomb_is_refused_with_little_memory(
    server: ScriptedServer, connect: Connect, sleeps: list[float], framing: str
) -> None:
    bomb = gzipped_zeros(64)
    server.then(reply(200, bomb, Content_Encoding="gzip") if framing == "length" else chunked(bomb))
    tracemalloc.start()
    try:
        with pytest.raises(AnswerTooLargeError, match="page_size"):
            connect(max_answer_bytes=2**20).request("GET", "/x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20
    assert sleeps == []


def test_an_answer_of_just_the_limit_is_taken(server: ScriptedServer, connect: Connect) -> None:
    server.then(reply(200, b"x" * 1000), reply(200, b"x" * 1001))
    transport = connect(max_answer_bytes=1000)
    assert len(transport.request("GET", "/x").body) == 1000
    with pytest.raises(AnswerTooLargeError, match="1000 bytes"):
        transport.request("GET", "/x")


BROKEN = {
    "no answer at all": CUT,
    "cut in the status line": Reply([b"HTTP/1.1 2"], close=True),
    "Content-Length beyond the body": raw("HTTP/1.1 200 OK\nContent-Length: 100", b'{"data": []'),
    "Content-Length without a body": raw("HTTP/1.1 200 OK\nContent-Length: 100"),
    "cut inside a chunk": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"50\r\n{"),
    "cut between chunks": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"2\r\n{}\r\n"),
    "no number before a chunk": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"zz\r\n{}\r\n"),
    "gzip cut short": raw(
        "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 500", gzip.compress(b"{}" * 400)[:-9]
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_asked_for_again_and_never_taken_as_short_data(
    server: ScriptedServer, transport: Transport, sleeps: list[float], broken: Reply
) -> None:
    server.then(broken, broken, reply(200, "whole"))
    assert transport.request("GET", "/x").body == b"whole"
    assert len(sleeps) == 2


def test_an_answer_that_stays_broken_is_a_connection_error(server: ScriptedServer, connect: Connect) -> None:
    server.otherwise = BROKEN["Content-Length beyond the body"]
    with pytest.raises(MakiniConnectionError, match="cut off"):
        connect(retry=RetryPolicy(attempts=2)).request("GET", "/x")
    assert len(server.seen) == 2


def test_a_body_that_is_not_compressed_as_stated_is_malformed(
    server: ScriptedServer, connect: Connect
) -> None:
    server.otherwise = reply(200, '{"data": []}', Content_Encoding="gzip")
    with pytest.raises(MalformedAnswerError, match="not compressed"):
        connect(retry=RetryPolicy(attempts=2)).request("GET", "/x")
    assert len(server.seen) == 2


def test_a_silent_server_is_given_up_after_the_timeout(server: ScriptedServer, connect: Connect) -> None:
    def silence(_: Seen) -> Reply:
        server.stopping.wait(5)
        return CUT

    server.then(silence)
    with pytest.raises(MakiniConnectionError, match=r"no answer within 0\.1 s"):
        connect(timeout=0.1, retry=ONCE).request("GET", "/x")


def slowly(server: ScriptedServer, head: str, piece: bytes) -> Callable[[Seen], Reply]:
    def pieces() -> Iterator[bytes]:
        yield from raw(head).pieces
        yield from server.drip(piece, 0.01)

    return lambda _: Reply(pieces(), close=True)


def test_a_body_that_stops_in_the_middle_is_given_up_after_the_timeout(
    server: ScriptedServer, connect: Connect
) -> None:
    server.then(slowly(server, "HTTP/1.1 200 OK\nContent-Length: 100", b""))
    with pytest.raises(MakiniConnectionError, match=r"no answer within 0\.1 s"):
        connect(timeout=0.1, retry=ONCE).request("GET", "/x")


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 1000000", b"x"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"1\r\nx\r\n"),
        ("HTTP/1.1 200 OK", b"x"),
    ],
    ids=["length", "chunked", "until closed"],
)
def test_a_body_that_drips_ends_by_a_deadline(
    server: ScriptedServer, connect: Connect, head: str, piece: bytes
) -> None:
    server.then(slowly(server, head, piece))
    started = time.monotonic()
    with pytest.raises(MakiniConnectionError, match=r"did not end within 0\.5 s"):
        connect(timeout=0.05, retry=ONCE).request("GET", "/x")
    assert time.monotonic() - started < 2


# Pace


class Time:
    """A clock that moves only where someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def pace(requests_per_minute: float | None, time_: Time) -> Pace:
    return Pace(requests_per_minute, sleep=time_.sleep, monotonic=lambda: time_.now)


def starts(paced: Pace, time_: Time, number: int) -> list[float]:
    found = []
    for _ in range(number):
        paced.wait()
        found.append(time_.now - 1000.0)
    return found


def test_requests_are_spaced_to_the_rate() -> None:
    time_ = Time()
    assert starts(pace(120, time_), time_, 4) == [0.0, 0.5, 1.0, 1.5]


def test_without_a_rate_nothing_waits() -> None:
    time_ = Time()
    assert starts(pace(None, time_), time_, 50)[-1] == 0.0


def test_time_that_passed_unused_is_not_made_up_for() -> None:
    time_ = Time()
    paced = pace(60, time_)
    starts(paced, time_, 1)
    time_.now += 10
    assert starts(paced, time_, 3) == [10.0, 11.0, 12.0]


def test_a_429_halves_the_rate_and_answers_win_it_back() -> None:
    time_ = Time()
    paced = pace(60, time_)
    starts(paced, time_, 1)
    paced.slower()
    slow = starts(paced, time_, 3)
    assert slow[2] - slow[1] == 2.0
    for _ in range(20):
        paced.faster()
    fast = starts(paced, time_, 3)
    assert fast[2] - fast[1] == 1.0


def test_a_429_slows_down_also_where_no_rate_is_set_and_it_is_forgotten_in_the_end() -> None:
    time_ = Time()
    paced = pace(None, time_)
    paced.slower()
    slow = starts(paced, time_, 2)
    assert slow[1] - slow[0] == 0.25
    for _ in range(100):
        paced.faster()
    starts(paced, time_, 1)
    fast = starts(paced, time_, 2)
    assert fast[0] == fast[1]


@pytest.mark.parametrize("rate", [None, 600, 60, 3])
def test_no_number_of_429s_stops_requests_or_makes_them_faster_than_the_rate(rate: float | None) -> None:
    time_ = Time()
    paced = pace(rate, time_)
    for _ in range(100):
        paced.slower()
    begun = starts(paced, time_, 2)
    assert begun[1] - begun[0] == max(10.0, 60 / rate if rate else 0.0)


def test_the_transport_slows_down_after_a_429(server: ScriptedServer, connect: Connect) -> None:
    time_ = Time()
    server.then(reply(200), reply(429), reply(200))
    transport = connect(pace=pace(60, time_))
    transport.request("GET", "/x")
    transport.request("GET", "/x")
    transport.request("GET", "/x")
    assert time_.now - 1000.0 > 3.0


def test_eight_threads_share_one_rate(server: ScriptedServer, connect: Connect) -> None:
    waits: list[float] = []
    paced = Pace(60, sleep=waits.append, monotonic=lambda: 1000.0)
    transport = connect(pace=paced)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: transport.request("GET", "/x"), range(16)))
    assert sorted(waits) == [float(n) for n in range(1, 16)]


def test_unauthorized_is_not_retried(server: ScriptedServer, transport: Transport) -> None:
    server.otherwise = reply(401)
    with pytest.raises(MakiniUnauthorizedError):
        transport.request("GET", "/x")
    assert len(server.seen) == 1
