"""The sandbox's tokens: given, spent, run out, revoked; each connection with data of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from makini_provider.sandbox import Behaviour, Sandbox

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
FIRST, SECOND = "09000207611898", "09000207611899"
ORDERS = "/api/eam/work-orders"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(records=40, now=NOW) as sandbox:
        sandbox.store.clock.set(NOW)
        yield sandbox


def call(
    sandbox: Sandbox, method: str, path: str, token: str | None = None, **kwargs: Any
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, sandbox.url + path, headers=headers, timeout=10, **kwargs)


def link(sandbox: Sandbox, *, json: bool = False, **form: str) -> requests.Response:
    client = {"client_id": sandbox.authority.client_id, "client_secret": sandbox.authority.client_secret}
    return call(sandbox, "POST", "/link/token", **{"json" if json else "data": client | form})


def application(sandbox: Sandbox) -> str:
    token: str = link(sandbox, grant_type="client_credentials").json()["access_token"]
    return token


def connected(sandbox: Sandbox, key: str) -> str:
    path = f"/api/system/connections/{key}/token"
    token: str = call(sandbox, "POST", path, application(sandbox)).json()["data"]["token"]
    return token


@pytest.mark.parametrize("json", [False, True])
def test_client_credentials_give_a_token_for_the_system(sandbox: Sandbox, json: bool) -> None:
    answer = link(sandbox, json=json, grant_type="client_credentials").json()
    assert (answer["expires_in"], answer["token_type"]) == (300, "Bearer")
    listed = call(sandbox, "GET", "/api/system/connections", answer["access_token"]).json()
    assert [one["key"] for one in listed["data"]] == list(sandbox.tenants.connections)
    assert {one["status"] for one in listed["data"]} == {"connected", "disconnected"}
    assert call(sandbox, "GET", ORDERS, answer["access_token"]).status_code == 403


def test_the_list_of_connections_is_paged(sandbox: Sandbox) -> None:
    token = application(sandbox)
    pages = [
        call(sandbox, "GET", f"/api/system/connections?page={n}&per_page=3", token).json() for n in (1, 2)
    ]
    assert [len(page["data"]) for page in pages] == [3, 1]
    assert [bool(page["links"]["next"]) for page in pages] == [True, False]
    assert pages[0]["meta"]["total"] == 4


def test_each_connection_has_data_of_its_own_and_the_first_is_that_of_the_sandboxs_token(
    sandbox: Sandbox,
) -> None:
    first, second = (
        call(sandbox, "GET", ORDERS, connected(sandbox, key)).json()["data"] for key in (FIRST, SECOND)
    )
    assert first == call(sandbox, "GET", ORDERS, sandbox.token).json()["data"]
    assert first != second
    path = "/api/integrations/current"
    assert call(sandbox, "GET", path, connected(sandbox, SECOND)).json()["data"]["company_name"] == (
        "Harbour Mill Paper"
    )


def test_a_token_runs_out_by_the_servers_clock(sandbox: Sandbox) -> None:
    token = connected(sandbox, SECOND)
    sandbox.store.clock.advance(timedelta(seconds=299))
    assert call(sandbox, "GET", ORDERS, token).status_code == 200
    sandbox.store.clock.advance(timedelta(seconds=1))
    assert call(sandbox, "GET", ORDERS, token).status_code == 401
    assert call(sandbox, "GET", ORDERS, sandbox.token).status_code == 200


def test_a_refresh_token_is_spent_once_it_is_used(sandbox: Sandbox) -> None:
    pair = sandbox.authority.pair(SECOND)
    new = link(sandbox, grant_type="refresh_token", refresh_token=pair["refresh_token"]).json()
    assert new["refresh_token"] != pair["refresh_token"]
    assert new["expires_in"] == 30 * 86400
    assert call(sandbox, "GET", ORDERS, new["access_token"]).status_code == 200
    again = link(sandbox, grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_refresh_token_is_spent_also_where_its_answer_is_cut(sandbox: Sandbox) -> None:
    pair = sandbox.authority.pair(SECOND)
    sandbox.behave(Behaviour(token_faults=("cut",)))
    with pytest.raises(requests.RequestException):
        link(sandbox, grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert not sandbox.authority.knows_refresh_token(pair["refresh_token"])


def test_a_refresh_token_lives_a_day_longer_than_its_access_token(sandbox: Sandbox) -> None:
    pair = sandbox.authority.pair(SECOND)
    sandbox.store.clock.advance(timedelta(days=31))
    answer = link(sandbox, grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "client_credentials", "client_secret": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "x"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_what_is_not_granted_says_why(
    sandbox: Sandbox, form: dict[str, str], status: int, error: str
) -> None:
    answer = link(sandbox, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("spelling", "told"),
    [
        ("duration", 300),
        ("duration_text", "300"),
        ("absolute", int(NOW.timestamp()) + 300),
        ("absolute_text", str(int(NOW.timestamp()) + 300)),
        ("absent", None),
    ],
)
def test_expires_in_is_told_in_every_spelling(sandbox: Sandbox, spelling: Any, told: object) -> None:
    sandbox.behave(Behaviour(expires_in=spelling))
    assert link(sandbox, grant_type="client_credentials").json().get("expires_in") == told


def test_tokens_are_spelt_in_several_ways(sandbox: Sandbox) -> None:
    def spelt(how: Any) -> tuple[Any, Any]:
        sandbox.behave(Behaviour(grant_spelling=how, opaque_tokens=True))
        token = application(sandbox) if how in ("snake", "flat") else sandbox.authority._issue(None, 300)[0]
        granted = link(sandbox, grant_type="client_credentials").json()
        issued = call(sandbox, "POST", f"/api/system/connections/{FIRST}/token", token).json()
        return granted, issued

    assert "access_token" in spelt("snake")[0]
    assert "token" in spelt("snake")[1]["data"]
    assert "accessToken" in spelt("camel")[0]
    assert "expiresIn" in spelt("camel")[1]["data"]
    assert "access_token" in spelt("data")[0]["data"]
    assert "token" in spelt("flat")[1]
    assert "." not in spelt("flat")[1]["token"]


def test_tokens_can_be_revoked_from_outside(sandbox: Sandbox) -> None:
    pair = call(sandbox, "POST", "/_sandbox/pairs", sandbox.token, json={"key": SECOND}).json()["data"]
    call(sandbox, "POST", "/_sandbox/revocations", sandbox.token, json={"refresh": False})
    assert call(sandbox, "GET", ORDERS, pair["access_token"]).status_code == 401
    assert sandbox.authority.knows_refresh_token(pair["refresh_token"])
    call(sandbox, "POST", "/_sandbox/revocations", sandbox.token, json={})
    assert not sandbox.authority.knows_refresh_token(pair["refresh_token"])


def test_a_connections_status_can_be_set_from_outside(sandbox: Sandbox) -> None:
    body = {"key": SECOND, "status": "reauthorization_required"}
    answer = call(sandbox, "POST", "/_sandbox/connections", sandbox.token, json=body)
    assert answer.json()["data"]["status"] == "reauthorization_required"
    assert call(sandbox, "POST", "/_sandbox/connections", sandbox.token, json={"key": "x"}).status_code == 400


def test_only_the_sandboxs_own_token_steers(sandbox: Sandbox) -> None:
    for path in ("pairs", "revocations", "connections"):
        assert call(sandbox, "POST", f"/_sandbox/{path}", application(sandbox), json={}).status_code == 401


def test_an_unknown_connection_has_no_token(sandbox: Sandbox) -> None:
    token = application(sandbox)
    assert call(sandbox, "POST", "/api/system/connections/x/token", token).status_code == 404
    assert call(sandbox, "POST", f"/api/system/connections/{FIRST}", token).status_code == 403
    assert call(sandbox, "GET", "/api/system/connections?page=x", token).status_code == 400


def test_what_was_asked_of_link_token_is_remembered_without_its_body(sandbox: Sandbox) -> None:
    link(sandbox, grant_type="client_credentials")
    assert sandbox.requests[-1]["path"] == "/link/token"
    assert sandbox.authority.client_secret not in str(sandbox.requests)


def test_token_faults_are_of_link_token_only(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(token_faults=("503",)))
    assert call(sandbox, "GET", ORDERS, sandbox.token).status_code == 200
    assert link(sandbox, grant_type="client_credentials").status_code == 503
    assert link(sandbox, grant_type="client_credentials").status_code == 200
