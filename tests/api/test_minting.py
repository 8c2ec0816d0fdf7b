"""Tokens in memory: renewed in time, once, and again when they are refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, as_json, reply

from makini_provider.api.auth import BearerAuth, Unsigned
from makini_provider.api.errors import (
    MakiniNotFoundError,
    MakiniServerError,
    MakiniUnauthorizedError,
    UnknownMakiniConnectionError,
)
from makini_provider.api.minting import MintedTokens, connection_token
from makini_provider.api.oauth import IssuedToken
from makini_provider.api.transport import Form, Transport

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


class Mint:
    """Makes tokens that live five minutes, and counts them."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.now = NOW
        self.made = 0
        self.refused: list[str | None] = []
        self.failure: MakiniServerError | None = None
        self._seconds = seconds

    def __call__(self, refused: str | None) -> IssuedToken:
        self.refused.append(refused)
        time.sleep(self._seconds)
        self.made += 1
        if self.failure is not None:
            raise self.failure
        return IssuedToken(f"token-{self.made}", self.now, self.now + timedelta(minutes=5))


@pytest.fixture
def mint() -> Mint:
    return Mint()


@pytest.fixture
def tokens(mint: Mint) -> MintedTokens:
    return MintedTokens(mint, lambda: mint.now)


def test_nothing_is_asked_for_before_a_token_is_needed(mint: Mint, tokens: MintedTokens) -> None:
    assert mint.made == 0
    assert tokens.token() == tokens.token() == "token-1"


def test_an_hour_of_five_minute_tokens_never_sends_one_that_has_run_out(
    mint: Mint, tokens: MintedTokens
) -> None:
    made_at = NOW
    for second in range(0, 3600, 7):
        mint.now = NOW + timedelta(seconds=second)
        before = mint.made
        assert tokens.token() == f"token-{mint.made}"
        made_at = mint.now if mint.made > before else made_at
        assert mint.now - made_at < timedelta(minutes=5)
    assert 12 <= mint.made <= 14


def test_a_refused_token_is_replaced_although_it_has_time_left(mint: Mint, tokens: MintedTokens) -> None:
    assert tokens.renewed(tokens.token()) == tokens.token() == "token-2"
    assert mint.refused == [None, "token-1"]


def test_who_was_refused_late_takes_what_another_has_got(mint: Mint, tokens: MintedTokens) -> None:
    first = tokens.token()
    tokens.renewed(first)
    assert tokens.renewed(first) == "token-2"
    assert mint.made == 2


def test_twenty_threads_make_one_token_and_share_it() -> None:
    mint = Mint(seconds=0.05)
    tokens = MintedTokens(mint, lambda: mint.now)
    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(lambda _: tokens.token(), range(20))) == {"token-1"}
        assert set(threads.map(tokens.renewed, ["token-1"] * 20)) == {"token-2"}
    assert mint.made == 2


def test_twenty_threads_share_a_failure_and_the_next_one_asks_again() -> None:
    mint = Mint(seconds=0.2)
    mint.failure = MakiniServerError("down")
    tokens = MintedTokens(mint, lambda: mint.now)
    ready = threading.Barrier(20)

    def take() -> Exception | None:
        ready.wait()
        try:
            tokens.token()
        except MakiniServerError as error:
            return error
        return None

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(lambda _: take(), range(20))) == {mint.failure}
    assert mint.made == 1
    mint.failure = None
    assert tokens.token() == "token-2"


def test_no_repr_shows_a_token(mint: Mint, tokens: MintedTokens) -> None:
    assert tokens.token() not in repr(tokens)


# Over HTTP.


@pytest.fixture
def signed(server: ScriptedServer, tokens: MintedTokens) -> Iterator[Transport]:
    transport = Transport(server.url, BearerAuth(tokens, server.url), sleep=lambda _: None)
    yield transport
    transport.close()


def sent(server: ScriptedServer) -> list[str]:
    return [seen.headers["Authorization"].removeprefix("Bearer ") for seen in server.seen]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_request_is_sent_once_more_with_another_token(
    server: ScriptedServer, signed: Transport, method: str
) -> None:
    server.then(reply(401), as_json({"data": 1}))
    assert signed.request(method, "/x").status == 200
    assert sent(server) == ["token-1", "token-2"]


def test_a_second_401_is_the_answer(server: ScriptedServer, signed: Transport) -> None:
    server.otherwise = reply(401)
    with pytest.raises(MakiniUnauthorizedError):
        signed.request("GET", "/x")
    assert sent(server) == ["token-1", "token-2"]


def test_a_post_is_not_repeated_for_any_other_reason(server: ScriptedServer, signed: Transport) -> None:
    server.then(reply(401), reply(503))
    with pytest.raises(MakiniServerError):
        signed.request("POST", "/x")
    assert sent(server) == ["token-1", "token-2"]


def test_what_minting_fails_with_is_not_tried_again_by_the_request(
    server: ScriptedServer, mint: Mint, signed: Transport
) -> None:
    mint.failure = MakiniServerError("down")
    with pytest.raises(MakiniServerError):
        signed.request("GET", "/x")
    assert (mint.made, server.seen) == (1, [])


def test_paths_of_the_system_carry_the_applications_token(
    server: ScriptedServer, tokens: MintedTokens
) -> None:
    class Application:
        def token(self) -> str:
            return "application"

        def renewed(self, refused: str) -> None:
            pass

    base_url = f"{server.url}/gateway"
    transport = Transport(base_url, BearerAuth(tokens, base_url, system=Application()))
    for path in ("/api/system/connections", "/api/systems", "/api/eam/sites", "/x?y=/api/system/"):
        transport.request("GET", path)
    transport.close()
    assert sent(server) == ["application", "token-1", "token-1", "token-1"]


def test_a_token_of_a_connection_is_asked_for_by_its_id(
    server: ScriptedServer, connect: Callable[..., Transport]
) -> None:
    server.otherwise = as_json({"data": {"token": "at-1", "expires_in": 300}})
    assert connection_token(connect(), "a/b").token == "at-1"
    assert (server.seen[0].method, server.seen[0].target) == ("POST", "/api/system/connections/a%2Fb/token")


def test_an_unknown_connection_is_told_with_those_that_there_are(
    server: ScriptedServer, connect: Callable[..., Transport]
) -> None:
    listed = [{"key": f"c-{number}", "name": f"Plant {number}"} for number in range(12)]
    server.then(reply(404), as_json({"data": listed, "links": {"next": None}}))
    with pytest.raises(UnknownMakiniConnectionError) as caught:
        connection_token(connect(), "c-99")
    assert "no Makini connection 'c-99'. There are 'c-0' (Plant 0), " in str(caught.value)
    assert "'c-9' (Plant 9) and 2 more." in str(caught.value)


def test_a_connection_that_is_listed_and_gives_no_token_is_not_called_unknown(
    server: ScriptedServer, connect: Callable[..., Transport]
) -> None:
    server.then(reply(404), as_json({"data": [{"key": "c-1"}], "links": {"next": None}}))
    with pytest.raises(MakiniNotFoundError):
        connection_token(connect(), "c-1")


def test_a_netrc_does_not_sign_what_is_to_be_unsigned(
    server: ScriptedServer,
    connect: Callable[..., Transport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    connect().request("POST", "/link/token", form=Form({"a": "b"}, {}), auth=Unsigned())
    assert "Authorization" not in server.seen[0].headers
