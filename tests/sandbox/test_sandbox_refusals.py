"""The sandbox refuses for every reason that the API has, in every wording."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from makini_provider.sandbox import Behaviour, Sandbox, make_token

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TOKEN = make_token(exp=(NOW + timedelta(minutes=5)).timestamp())


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(records=10, token=TOKEN, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Iterator[Sandbox]:
    server.store.clock.set(NOW)
    yield server
    server.behave()


def get(sandbox: Sandbox, path: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    return requests.get(f"{sandbox.url}{path}", headers=headers, timeout=10)


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        ("no_header", "AUTHORIZATION_HEADER_MISSING", "header is missing"),
        ("invalid", "INVALID_TOKEN", "not known"),
        ("expired", "TOKEN_EXPIRED", "has expired"),
        ("revoked", "TOKEN_REVOKED", "was revoked"),
        ("credentials_changed", "SOURCE_CREDENTIALS_INVALID", "connected system"),
        ("reauthorization", "REAUTHORIZATION_REQUIRED", "requires reauthorization"),
        ("permission", "PERMISSION_DENIED", "lacks a permission"),
    ],
)
def test_a_reason_is_told_by_the_code_or_by_the_message_or_not_at_all(
    sandbox: Sandbox, reason: Any, code: str, words: str
) -> None:
    told = {}
    for wording in ("code", "message", "plain"):
        sandbox.behave(Behaviour(refusal=reason, refusal_wording=wording))  # type: ignore[arg-type]
        answer = get(sandbox, "/api/eam/sites")
        assert answer.status_code == 401
        told[wording] = answer.json()["error"]
    plain = ("AUTHENTICATION_FAILED", "the token is invalid or expired")
    assert (told["plain"]["code"], told["plain"]["message"]) == plain
    assert (told["code"]["code"], told["code"]["message"]) == (code, plain[1])
    assert told["message"]["code"] == plain[0]
    assert words in told["message"]["message"]


def test_a_refusal_begins_after_so_many_requests(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(refusal="revoked", refusal_after=2))
    assert [get(sandbox, "/api/eam/sites").status_code for _ in range(4)] == [200, 200, 401, 401]


def test_a_jwt_is_refused_once_its_end_lies_before_the_servers_clock(sandbox: Sandbox) -> None:
    assert get(sandbox, "/api/eam/sites").status_code == 200
    sandbox.store.clock.advance(timedelta(minutes=5))
    answer = get(sandbox, "/api/eam/sites")
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "the access token has expired")


@pytest.mark.parametrize("status", [401, 403])
def test_a_permission_can_be_missing_for_a_list_a_domain_or_a_path(sandbox: Sandbox, status: Any) -> None:
    denied = ("eam/assets", "erp/*", "/api/integrations/current")
    sandbox.behave(Behaviour(denied=denied, denied_status=status))
    refused = ["/api/eam/assets", "/api/eam/assets/1", "/api/erp/sites", "/api/integrations/current"]
    assert {get(sandbox, path).status_code for path in refused} == {status}
    assert {get(sandbox, path).status_code for path in ("/api/eam/sites", "/api/wms/sites")} == {200}


@pytest.mark.parametrize(
    ("place", "in_header", "in_body"),
    [("both", True, True), ("header", True, False), ("body", False, True), ("none", False, False)],
)
def test_the_request_id_stands_where_it_is_wanted(
    sandbox: Sandbox, place: Any, in_header: bool, in_body: bool
) -> None:
    sandbox.behave(Behaviour(refusal="invalid", request_id_in=place))
    answer = get(sandbox, "/api/eam/sites")
    assert bool(answer.headers.get("X-Request-Id")) is in_header
    assert ("request_id" in answer.json()["error"]) is in_body


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="refusal must be one of"):
        Behaviour(refusal="whatever")  # type: ignore[arg-type]
