"""Authentication: the token reaches one origin and nothing else."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import CUT, ScriptedServer, as_json, reply

from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.errors import MakiniConfigurationError, MakiniError
from makini_provider.api.transport import RetryPolicy, Transport


def test_requests_carry_the_token_as_bearer(server: ScriptedServer, transport: Transport, token: str) -> None:
    transport.request("GET", "/x")
    assert server.seen[0].headers["Authorization"] == f"Bearer {token}"


def test_requests_on_the_session_itself_carry_it_too(
    server: ScriptedServer, transport: Transport, token: str
) -> None:
    transport.session.get(f"{server.url}/x").close()
    with transport.session.get(f"{server.url}/x", stream=True) as response:
        assert response.json() == {"data": []}
    transport.session.get(f"{server.url}/x", headers={"Authorization": "Basic abc"}).close()
    assert [seen.headers["Authorization"] for seen in server.seen] == [f"Bearer {token}"] * 3


def test_a_netrc_does_not_override_the_token(
    server: ScriptedServer, transport: Transport, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    requests.get(server.url, timeout=5).close()
    assert server.seen[0].headers["Authorization"].startswith("Basic ")  # the file works
    transport.request("GET", "/x")
    transport.session.get(f"{server.url}/x").close()
    assert [seen.headers["Authorization"] for seen in server.seen[1:]] == [f"Bearer {token}"] * 2


def test_credentials_in_the_url_do_not_override_the_token(
    server: ScriptedServer, connect: Callable[..., Transport], token: str
) -> None:
    connect(server.url.replace("//", "//user:pass@")).request("GET", "/x")
    assert server.seen[0].headers["Authorization"] == f"Bearer {token}"


def test_another_port_is_another_origin(
    other_server: ScriptedServer, transport: Transport, token: str
) -> None:
    with pytest.raises(MakiniConfigurationError, match="refused to send the token") as caught:
        transport.session.get(f"{other_server.url}/x")
    assert other_server.seen == []
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.makini.io/x",
        "https://api.makini.io:8443/x",
        "https://api.makini.io.evil.example/x",
        "https://evil.example/api.makini.io",
        "https://api.makini.io@evil.example/x",
        "https://makini.io/x",
    ],
)
def test_the_token_is_refused_to_every_other_origin(url: str, token: str) -> None:
    auth = BearerAuth(StaticToken(token), "https://api.makini.io")
    with pytest.raises(MakiniConfigurationError, match="refused"):
        requests.Request("GET", url, auth=auth).prepare()


@pytest.mark.parametrize("url", ["https://API.makini.io/x", "https://api.makini.io:443/x"])
def test_one_origin_may_be_spelled_in_several_ways(url: str, token: str) -> None:
    auth = BearerAuth(StaticToken(token), "https://api.makini.io")
    assert requests.Request("GET", url, auth=auth).prepare().headers["Authorization"] == f"Bearer {token}"


def test_each_attempt_asks_for_the_token_anew(server: ScriptedServer) -> None:
    class Rotating:
        calls = 0

        def token(self) -> str:
            self.calls += 1
            return f"token-{self.calls}"

    server.then(reply(503), reply(200))
    transport = Transport(server.url, BearerAuth(Rotating(), server.url), sleep=lambda _: None)
    transport.request("GET", "/x")
    transport.close()
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer token-1", "Bearer token-2"]


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_visible_ascii_is_a_token(text: str) -> None:
    assert StaticToken(text).token() == text


@given(st.text().filter(lambda text: not text or any(not "!" <= character <= "~" for character in text)))
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MakiniConfigurationError) as caught:
        StaticToken(text)
    assert caught.value.remedy
    assert len(text) < 8 or text not in str(caught.value)


def test_a_token_source_can_not_break_the_header(server: ScriptedServer) -> None:
    class Broken:
        def token(self) -> str:
            return "s3cret\r\nX-Other: 1"

    transport = Transport(server.url, BearerAuth(Broken(), server.url))
    with pytest.raises(MakiniConfigurationError) as caught:
        transport.request("GET", "/x")
    transport.close()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_no_repr_shows_the_token(transport: Transport, token: str) -> None:
    source = StaticToken(token)
    for thing in (source, BearerAuth(source, "https://x"), transport, transport.session):
        assert token not in repr(thing)
        assert token not in str(thing)


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "slashes escaped"])
def test_a_server_that_repeats_the_token_does_not_bring_it_into_error_or_log(
    server: ScriptedServer,
    connect: Callable[..., Transport],
    token: str,
    caplog: pytest.LogCaptureFixture,
    escaped: bool,
) -> None:
    told = json.dumps({"message": f"bad token {token}", "code": token, "requestId": f"id-{token}"})
    server.otherwise = reply(500, told.replace("/", "\\/") if escaped else told, X_Request_Id="")
    with caplog.at_level(logging.DEBUG), pytest.raises(MakiniError) as caught:
        connect(retry=RetryPolicy(attempts=2)).request("GET", "/x")
    assert token not in "".join(traceback.format_exception(caught.value))
    assert token not in caplog.text
    assert "bad token ***" in str(caught.value)


def test_a_long_message_does_not_show_a_part_of_the_token(
    server: ScriptedServer, transport: Transport, token: str
) -> None:
    server.otherwise = as_json({"message": "x" * 290 + token}, 400)
    with pytest.raises(MakiniError) as caught:
        transport.request("GET", "/x")
    assert token[:8] not in str(caught.value)


@pytest.mark.parametrize("answer", [reply(401), reply(302), reply(500, "<html>"), CUT, None])
def test_no_failure_shows_the_token_or_credentials_of_the_url(
    server: ScriptedServer, connect: Callable[..., Transport], token: str, answer: object
) -> None:
    url = server.url if answer else "http://127.0.0.1:1"
    if answer is not None:
        server.otherwise = answer  # type: ignore[assignment]
    password = "hunter2"
    transport = connect(url.replace("//", f"//user:{password}@"), retry=RetryPolicy(attempts=1))
    with pytest.raises(MakiniError) as caught:
        transport.request("GET", "/x")
    shown = "".join(traceback.format_exception(caught.value))
    assert token not in shown
    assert password not in shown
