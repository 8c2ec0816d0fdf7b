"""The token does not show where requests are debugged, where they fail, or beside their way."""

from __future__ import annotations

import base64
import http.client
import logging
import traceback
from collections.abc import Callable

import pytest
import requests
from scripted_server import CUT, Answer, ScriptedServer, raw, reply

from makini_provider.api.errors import MakiniError
from makini_provider.api.transport import RetryPolicy, Transport

Connect = Callable[..., Transport]
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def debugging(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """All that one switches on to see what goes over the wire."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    caplog.set_level(logging.DEBUG)


@pytest.mark.usefixtures("debugging")
def test_http_debugging_does_not_print_the_token(
    server: ScriptedServer,
    transport: Transport,
    token: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport.request("GET", "/api/eam/sites")
    transport.session.get(f"{transport.base_url}/api/eam/sites")
    assert token not in capfd.readouterr().out
    assert "GET /api/eam/sites" in caplog.text
    assert token not in caplog.text
    # Of other requests it does.
    requests.get(server.url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert token in capfd.readouterr().out


@pytest.mark.usefixtures("debugging")
def test_http_debugging_does_not_print_a_proxys_password(
    connect: Connect, other_server: ScriptedServer, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = other_server.url.replace("://", "://user:hunter22@")
    other_server.otherwise = reply(403)
    for url in ("http://makini.example", "https://makini.example"):
        with pytest.raises(MakiniError) as caught:
            connect(url, proxies={"http": proxy, "https": proxy}, retry=ONCE).request("GET", "/x")
        assert "hunter22" not in with_locals(caught.value)
    printed = capfd.readouterr()
    basic = base64.b64encode(b"user:hunter22").decode()
    assert [seen.headers["Proxy-Authorization"] for seen in other_server.seen] == [f"Basic {basic}"] * 2
    for secret in (token, "hunter22", basic):
        assert secret not in printed.out + printed.err


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(401, "no"), "MakiniUnauthorizedError"),
        (reply(500, "no"), "MakiniServerError"),
        (CUT, "MakiniConnectionError"),
        (raw("HTTP/1.1 200 OK\nContent-Length: 100", b"{}"), "MakiniConnectionError"),
        (raw("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 2", b"{}"), "MalformedAnswerError"),
    ],
)
def test_no_frame_of_a_failure_holds_the_token(
    server: ScriptedServer, connect: Connect, token: str, answer: Answer, kind: str
) -> None:
    server.otherwise = answer
    transport = connect(retry=ONCE)
    with pytest.raises(MakiniError) as caught:
        transport.request("GET", "/x")
    assert type(caught.value).__name__ == kind
    assert token not in with_locals(caught.value)


def test_no_frame_of_a_connection_that_failed_holds_the_token(connect: Connect, token: str) -> None:
    for url in ("http://127.0.0.1:9", "https://127.0.0.1:9", "http://no-such-host.invalid"):
        with pytest.raises(MakiniError) as caught:
            connect(url, retry=ONCE).request("GET", "/x")
        assert token not in with_locals(caught.value)


def test_frames_of_the_http_library_would_hold_it(token: str) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get("http://127.0.0.1:9", headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert token in with_locals(caught.value)


def with_locals(error: BaseException) -> str:
    """What a recorder of errors, such as Sentry, keeps."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next  # the first frame is the test's
    trace = traceback.TracebackException(type(error), error, below, capture_locals=True)
    return "".join(trace.format())


def test_a_proxy_of_another_scheme_sees_nothing(
    server: ScriptedServer, other_server: ScriptedServer, connect: Connect
) -> None:
    connect(proxies={"https": other_server.url}).request("GET", "/x")
    assert (len(server.seen), len(other_server.seen)) == (1, 0)


def test_a_proxy_sees_the_host_and_not_the_token_of_an_https_request(
    other_server: ScriptedServer, connect: Connect, token: str
) -> None:
    transport = connect("https://makini.example", proxies={"https": other_server.url}, retry=ONCE)
    with pytest.raises(MakiniError):
        transport.request("GET", "/x")
    (seen,) = other_server.seen
    assert (seen.method, seen.target) == ("CONNECT", "makini.example:443")
    assert token not in str(seen)
