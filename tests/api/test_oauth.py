"""The token endpoint: what is asked, and every answer that is known or likely."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from scripted_server import CUT, ScriptedServer, as_json, reply

from makini_provider.api.errors import (
    ClientRefusedError,
    MakiniConnectionError,
    MakiniError,
    MakiniNotFoundError,
    MakiniProtocolError,
    MakiniServerError,
    MakiniStatusError,
    MalformedAnswerError,
    RefreshTokenRefusedError,
)
from makini_provider.api.oauth import IssuedToken, TokenEndpoint, issued, stated_expiry
from makini_provider.api.token_pair import TokenPair
from makini_provider.api.transport import Answer, RetryPolicy, Transport

SECRET = "cs/0815+secret"
REFRESH_TOKEN = "rt/0815+secret"
NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
PAIR = TokenPair("at-1", REFRESH_TOKEN, NOW)


@pytest.fixture
def endpoint(connect: Callable[..., Transport]) -> TokenEndpoint:
    return TokenEndpoint(connect(), "client-id", SECRET)


def answered(body: Any) -> IssuedToken:
    return issued(Answer(200, {}, json.dumps(body).encode(), NOW), NOW)


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.signature"


NESTED = f"a.{base64.urlsafe_b64encode(b'[' * 30_000).decode()}.c"

# What is asked.


def test_client_credentials_go_form_encoded_and_unsigned(
    server: ScriptedServer, endpoint: TokenEndpoint
) -> None:
    server.otherwise = as_json({"access_token": "at-1", "expires_in": 300})
    assert endpoint.application_token().token == "at-1"
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("POST", "/link/token")
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in seen.headers
    assert parse_qs(seen.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-id"],
        "client_secret": [SECRET],
    }


def test_a_refresh_token_goes_the_same_way(server: ScriptedServer, endpoint: TokenEndpoint) -> None:
    server.otherwise = as_json({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 300})
    found = endpoint.refresh(PAIR)
    assert (found.token, found.refresh_token) == ("at-2", "rt-2")
    assert parse_qs(server.seen[0].body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [REFRESH_TOKEN],
        "client_id": ["client-id"],
        "client_secret": [SECRET],
    }


def test_an_answer_without_a_new_refresh_token_leaves_the_old_one_good(
    server: ScriptedServer, endpoint: TokenEndpoint
) -> None:
    server.otherwise = as_json({"access_token": "at-2"})
    assert endpoint.refresh(PAIR).refresh_token == REFRESH_TOKEN


def test_client_credentials_are_asked_for_again_after_a_failure(
    server: ScriptedServer, endpoint: TokenEndpoint
) -> None:
    server.then(reply(503), CUT, reply(200, "<html>maintenance"), as_json({"access_token": "at-1"}))
    assert endpoint.application_token().token == "at-1"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(reply(503), MakiniServerError), (CUT, MakiniConnectionError), (reply(200), MalformedAnswerError)],
)
def test_a_refresh_is_asked_once_since_the_token_may_be_spent(
    server: ScriptedServer, endpoint: TokenEndpoint, failure: Any, kind: type[MakiniError]
) -> None:
    server.otherwise = failure
    with pytest.raises(kind):
        endpoint.refresh(PAIR)
    assert len(server.seen) == 1


def test_a_refresh_is_asked_again_after_a_429_which_says_that_nothing_was_done(
    server: ScriptedServer, endpoint: TokenEndpoint
) -> None:
    server.then(reply(429, Retry_After="0"), as_json({"access_token": "at-2", "refresh_token": "rt-2"}))
    assert endpoint.refresh(PAIR).token == "at-2"


# What is answered.


@pytest.mark.parametrize(
    "body",
    [
        {"access_token": "at", "refresh_token": "rt", "expires_in": 300},
        {"accessToken": "at", "refreshToken": "rt", "expiresIn": 300},
        {"data": {"access_token": "at", "refresh_token": "rt", "expires_in": 300}},
        {"data": {"token": "at", "refresh_token": "rt", "expires_in": 300}},
        {"token": "at", "refresh_token": "rt", "expires_in": 300},
        {"token": {"access_token": "at", "refresh_token": "rt", "expires_in": 300}},
        {"access_token": " at ", "refresh_token": "rt", "expires_in": "300", "token_type": "Bearer"},
    ],
)
def test_every_likely_spelling_of_a_token_is_read(body: Any) -> None:
    assert answered(body) == IssuedToken("at", NOW, NOW + timedelta(seconds=300), "rt")


EPOCH = int((NOW + timedelta(days=30)).timestamp())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires_in": 300}, timedelta(seconds=300)),
        ({"expires_in": "300"}, timedelta(seconds=300)),
        ({"expires_in": 300.5}, timedelta(seconds=300.5)),
        ({"expires_in": EPOCH}, timedelta(days=30)),
        ({"expires_in": str(EPOCH)}, timedelta(days=30)),
        ({"expires_in": EPOCH * 1000}, timedelta(days=30)),
        ({"expires_at": EPOCH}, timedelta(days=30)),
        ({"expires_at": "2026-08-31T12:00:00Z"}, timedelta(days=30)),
        ({}, None),
        ({"expires_in": None}, None),
        ({"expires_in": True}, None),
        ({"expires_in": 0}, None),
        ({"expires_in": -1}, None),
        ({"expires_in": "soon"}, None),
        ({"expires_in": [300]}, None),
        ({"expires_in": 1e300}, None),
        ({"expires_in": "nan"}, None),
        ({"expires_in": 1715674414}, None),
    ],
)
def test_both_readings_of_expires_in_and_nothing_that_can_not_be(
    fields: dict[str, Any], expected: timedelta | None
) -> None:
    assert answered({"access_token": "at", **fields}).expires_at == (NOW + expected if expected else None)


def test_without_expires_in_the_token_itself_is_asked() -> None:
    ends = NOW + timedelta(minutes=5)
    assert answered({"access_token": jwt(exp=ends.timestamp())}).expires_at == ends


def test_an_end_that_has_passed_does_not_outrank_what_the_token_says() -> None:
    ends = NOW + timedelta(minutes=5)
    body = {"access_token": jwt(exp=ends.timestamp()), "expires_in": 1715674414}
    assert answered(body).expires_at == ends


@pytest.mark.parametrize(
    "token", ["opaque", "a.b.c", "a.!!!.c", jwt(), jwt(exp="x"), jwt(exp=1e300), "..", "", NESTED]
)
def test_a_token_that_says_nothing_has_no_end(token: str) -> None:
    assert stated_expiry(token) is None


@pytest.mark.parametrize("body", ["", "<html>", [], 7, {"data": []}, {"access_token": ""}, {"rt": "s3cret"}])
def test_an_answer_without_a_token_is_an_error_that_shows_none_of_it(body: Any) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(MakiniProtocolError) as caught:
        issued(Answer(200, {}, content.encode(), NOW), NOW)
    assert caught.value.remedy
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("lifetime", "good_for"), [(300, 270), (30 * 86400, 30 * 86400 - 60), (10, 8), (1, 0)]
)
def test_a_token_is_replaced_in_time_be_its_life_short_or_long(lifetime: int, good_for: int) -> None:
    token = IssuedToken("at", NOW, NOW + timedelta(seconds=lifetime))
    if good_for:
        assert token.is_good(NOW + timedelta(seconds=good_for - 1))
    assert not token.is_good(NOW + timedelta(seconds=good_for))


# What is refused.


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": "invalid_client", "error_description": f"wrong secret {SECRET}"}),
        (400, {"error": "unauthorized_client"}),
        (401, {"error": {"code": "AUTHENTICATION_FAILED", "message": f"no {SECRET}"}}),
        (403, {}),
        (400, {}),
    ],
)
def test_a_client_that_is_refused_says_where_its_secret_stands(
    server: ScriptedServer, endpoint: TokenEndpoint, status: int, body: Any
) -> None:
    server.otherwise = as_json(body, status)
    with pytest.raises(ClientRefusedError, match="login") as caught:
        endpoint.application_token()
    assert caught.value.status == status
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant"}),
        (401, {"error": "invalid_grant"}),
        (401, {"error": "invalid_request", "message": "The refresh token is invalid."}),
        (401, {"error": {"code": "AUTHENTICATION_FAILED", "message": f"no {REFRESH_TOKEN}"}}),
        (400, {}),
        (403, {}),
    ],
)
def test_a_refresh_token_that_is_refused_is_told_from_a_client_that_is(
    server: ScriptedServer, endpoint: TokenEndpoint, status: int, body: Any
) -> None:
    server.otherwise = as_json(body, status)
    with pytest.raises(RefreshTokenRefusedError) as caught:
        endpoint.refresh(PAIR)
    assert REFRESH_TOKEN not in "".join(traceback.format_exception(caught.value))
    server.otherwise = as_json({"error": "invalid_client"}, 401)
    with pytest.raises(ClientRefusedError):
        endpoint.refresh(PAIR)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "", MakiniNotFoundError),
        (400, "unsupported_grant_type", MakiniStatusError),
        (422, "", MakiniStatusError),
    ],
)
def test_other_refusals_blame_no_credentials(
    server: ScriptedServer, endpoint: TokenEndpoint, status: int, code: str, kind: type[MakiniError]
) -> None:
    server.otherwise = as_json({"error": code}, status)
    for ask in (endpoint.application_token, lambda: endpoint.refresh(PAIR)):
        with pytest.raises(kind) as caught:
            ask()
        assert type(caught.value) is kind


def test_a_token_endpoint_that_is_not_there_blames_the_host(
    server: ScriptedServer, endpoint: TokenEndpoint
) -> None:
    server.otherwise = reply(404)
    with pytest.raises(MakiniNotFoundError, match="Check the connection's host"):
        endpoint.application_token()


@pytest.mark.parametrize("answer", [reply(500, "<html>"), reply(302), CUT, reply(200, "{")])
def test_no_failure_and_no_log_shows_a_secret(
    server: ScriptedServer,
    connect: Callable[..., Transport],
    answer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.otherwise = answer
    endpoint = TokenEndpoint(connect(retry=RetryPolicy(attempts=2)), "client-id", SECRET)
    with caplog.at_level(logging.DEBUG):
        for ask in (endpoint.application_token, lambda: endpoint.refresh(PAIR)):
            with pytest.raises(MakiniError) as caught:
                ask()
            shown = "".join(traceback.format_exception(caught.value)) + caplog.text
            assert SECRET not in shown
            assert REFRESH_TOKEN not in shown


def test_a_token_shows_itself_in_no_repr() -> None:
    shown = repr(IssuedToken("at-secret", NOW, None, "rt-secret"))
    assert "secret" not in shown
