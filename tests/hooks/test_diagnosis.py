"""Each cause of a refusal is told apart, however the API words it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from recording_server import RecordingServer, Reply

from makini_provider.api.causes import Asked, Findings, cause_told, find_cause, status_tells
from makini_provider.api.diagnosis import Cause, Diagnosis
from makini_provider.api.errors import (
    HeaderNotAcceptedError,
    MakiniConfigurationError,
    MakiniForbiddenError,
    MakiniStatusError,
    MakiniUnauthorizedError,
    PermissionMissingError,
    ReauthorizationRequiredError,
    SourceCredentialsError,
    TokenExpiredError,
    TokenInvalidError,
)
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Behaviour, Sandbox, make_token

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TOKEN = make_token(iat=(NOW - timedelta(days=9)).timestamp(), exp=(NOW + timedelta(days=9)).timestamp())
MOST_REQUESTS = 7
CUSTOMER = "09000207611899"

Connect = Callable[..., MakiniHook]

# Nested, flat, HTML or empty bodies, with the reason in the code, in the message or nowhere, and the request
# ID in the header, in the body or nowhere.
TELLING = [
    {"error_spelling": body, "refusal_wording": wording, "request_id_in": place}
    for body in ("nested", "flat")
    for wording in ("code", "message")
    for place in ("both", "header", "body", "none")
]
SILENT = [
    {"error_spelling": "nested", "refusal_wording": "plain"},
    {"error_spelling": "flat", "refusal_wording": "plain", "request_id_in": "none"},
    {"error_spelling": "html"},
    {"error_spelling": "empty"},
    {"error_spelling": "empty", "request_id_in": "none"},
]


def in_spellings(*spellings: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("spelling", spellings, ids=lambda one: "-".join(one.values()))


in_every_telling_spelling = in_spellings(*TELLING)
in_every_spelling = in_spellings(*TELLING, *SILENT)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(seed=3, token=TOKEN, records=60, now=NOW) as sandbox:
        sandbox.store.clock.set(NOW)
        yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Iterator[Sandbox]:
    server.forget_requests()
    yield server
    server.behave()
    server.store.set_integration(sync_status="done", sync_updated_at="2026-08-01T11:00:00Z")
    server.token = TOKEN
    server.store.clock.set(NOW)


@pytest.fixture
def server_of_pages() -> Iterator[str]:
    """The URL of something that answers whatever it is asked with a page for people."""
    with RecordingServer() as pages:
        pages.replies = [Reply(b"<html>Please log in</html>", headers={"Content-Type": "text/html"})]
        yield pages.url


def refused(hook: MakiniHook, resource: str = "eam/assets") -> MakiniStatusError:
    """What a task meets."""
    with pytest.raises(MakiniStatusError) as met:
        next(hook.list_records(resource))
    return met.value


def diagnosed(sandbox: Sandbox, connect: Connect, *, token: str = TOKEN) -> Diagnosis:
    """The diagnosis of a refusal that a task met; it may cost few requests."""
    with connect(host=sandbox.url, password=token) as hook:
        failure = refused(hook)
        sandbox.forget_requests()
        diagnosis = hook.diagnose(failure)
    assert 0 < len(sandbox.requests) <= MOST_REQUESTS
    assert not [one for one in sandbox.requests if one["method"] != "GET"]
    return diagnosis


# One cause after the other, in the order in which Makini says to look


@in_every_spelling
def test_a_token_with_quotation_marks_is_not_sent_as_it_should_be(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.behave(Behaviour(**spelling))
    diagnosis = diagnosed(sandbox, connect, token=f'"{TOKEN}"')
    assert diagnosis.cause is Cause.HEADER
    assert "quotation marks" in diagnosis.summary
    assert isinstance(diagnosis.error(), HeaderNotAcceptedError)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (f"Bearer {TOKEN}", "white space"),
        (f"{TOKEN}\n", "white space"),
        ("clé", "characters that a header can't carry"),
        (TOKEN[:60], "cut short"),
        ("********", "placeholder"),
        (TOKEN.replace(".", "%2E"), "percent-encoded"),
    ],
    ids=["word", "line-break", "letters", "cut", "masked", "encoded"],
)
def test_a_damaged_token_is_told_by_its_shape_without_showing_it(
    sandbox: Sandbox, connect: Connect, token: str, words: str
) -> None:
    with connect(host=sandbox.url, password=token) as hook:
        diagnosis = hook.diagnose()
    assert diagnosis.cause is Cause.HEADER
    assert words in diagnosis.summary
    assert token.strip() not in json.dumps(diagnosis.as_json()) + str(diagnosis)


@in_every_telling_spelling
def test_a_header_that_something_has_taken_away_is_told(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.behave(Behaviour(refusal="no_header", **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.HEADER
    assert "proxy" in str(diagnosis)


@in_every_spelling
def test_a_token_that_has_run_out_is_told_by_its_own_date_and_the_servers_clock(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.token = make_token(exp=(NOW - timedelta(hours=3)).timestamp())
    sandbox.behave(Behaviour(**spelling))
    diagnosis = diagnosed(sandbox, connect, token=sandbox.token)
    assert diagnosis.cause is Cause.EXPIRED
    assert diagnosis.summary == "the token has expired, 3 hours ago (2026-08-01 09:00 UTC)."
    assert diagnosis.since == NOW - timedelta(hours=3)
    assert isinstance(diagnosis.error(), TokenExpiredError)


@in_every_telling_spelling
def test_a_token_without_dates_has_expired_where_the_api_says_so(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.token = "an-opaque-token-4711"
    sandbox.behave(Behaviour(refusal="expired", **spelling))
    assert diagnosed(sandbox, connect, token=sandbox.token).cause is Cause.EXPIRED


@in_every_spelling
@pytest.mark.parametrize("reason", ["invalid", "revoked"])
def test_a_token_that_is_not_accepted_and_has_not_run_out_is_invalid_or_revoked(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any], reason: Any
) -> None:
    sandbox.behave(Behaviour(refusal=reason, **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.INVALID
    assert any("status in Makini" in line for line in diagnosis.not_found_out)
    assert isinstance(diagnosis.error(), TokenInvalidError)


@in_every_spelling
def test_a_platform_that_lets_makini_in_no_more_is_told_by_the_state(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    state = {"sync_status": "fail", "sync_updated_at": "2026-07-30T08:00:00Z"}
    sandbox.behave(Behaviour(sync_states=(state,), denied=("eam/*",), denied_status=401, **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.SOURCE_CREDENTIALS
    assert "It is not the token." in diagnosis.summary
    assert diagnosis.since == datetime(2026, 7, 30, 8, tzinfo=UTC)
    assert diagnosis.actions[0].who == "Your customer"
    assert isinstance(diagnosis.error(), SourceCredentialsError)


@in_every_telling_spelling
def test_credentials_that_were_changed_are_told_where_the_api_says_so(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.behave(Behaviour(refusal="credentials_changed", **spelling))
    assert diagnosed(sandbox, connect).cause is Cause.SOURCE_CREDENTIALS


@in_every_telling_spelling
def test_a_connection_that_must_be_authorized_again_is_told_where_the_api_says_so(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.behave(Behaviour(refusal="reauthorization", **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.REAUTHORIZATION
    assert diagnosis.actions[0].who == "Your customer"
    assert isinstance(diagnosis.error(), ReauthorizationRequiredError)


@in_every_spelling
@pytest.mark.parametrize("status", [401, 403])
def test_one_missing_permission_is_told_from_a_dead_token_by_what_can_be_read(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any], status: Any
) -> None:
    sandbox.behave(Behaviour(denied=("eam/assets",), denied_status=status, **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.PERMISSION
    assert "/api/eam/assets" in diagnosis.summary
    assert not diagnosis.is_dead
    error = diagnosis.error()
    assert isinstance(error, PermissionMissingError)
    assert isinstance(error, MakiniForbiddenError)
    assert isinstance(error, MakiniUnauthorizedError)


@in_every_spelling
def test_a_token_that_may_read_nothing_is_told_from_one_that_is_dead(
    sandbox: Sandbox, connect: Connect, spelling: dict[str, Any]
) -> None:
    sandbox.behave(Behaviour(denied=("eam/*", "erp/*", "wms/*"), denied_status=401, **spelling))
    diagnosis = diagnosed(sandbox, connect)
    assert diagnosis.cause is Cause.PERMISSION
    assert diagnosis.is_dead


@pytest.mark.parametrize(
    ("code", "told", "cause"),
    [
        ("TOKEN_REVOKED", "the token was revoked", Cause.INVALID),
        ("invalid_token", "The access token expired", Cause.EXPIRED),
        ("FORBIDDEN", "this is not allowed", Cause.PERMISSION),
        (None, "", Cause.PERMISSION),
    ],
)
def test_a_403_that_blames_the_token_is_no_missing_permission(
    code: str | None, told: str, cause: Cause
) -> None:
    refusal = MakiniForbiddenError("GET /api/eam/sites was answered with 403.", status=403, code=code)
    refusal.told = told
    found = Findings(source="m", now=NOW, asked=[Asked("GET /api/eam/sites", refusal, "eam/sites")])
    assert find_cause(found) is cause


# An application's credentials also show what Makini says of the connection


@pytest.fixture
def customer(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakiniHook]:
    """A hook of one connection of an application."""
    fields = {
        "conn_type": "makini",
        "host": sandbox.url,
        "login": sandbox.authority.client_id,
        "password": sandbox.authority.client_secret,
    }
    monkeypatch.setenv("AIRFLOW_CONN_APP", json.dumps(fields))
    with MakiniHook("app", CUSTOMER) as hook:
        yield hook
    sandbox.tenants.set(CUSTOMER, {"status": "connected"})


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("reauthorization_required", Cause.REAUTHORIZATION),
        ("requires authentication", Cause.REAUTHORIZATION),
        ("invalid_credentials", Cause.SOURCE_CREDENTIALS),
        ("revoked", Cause.INVALID),
        ("connected", Cause.INVALID),
    ],
)
@in_spellings(*SILENT)
def test_the_status_of_the_connection_tells_what_the_api_does_not(
    sandbox: Sandbox, customer: MakiniHook, spelling: dict[str, Any], status: str, cause: Cause
) -> None:
    sandbox.behave(Behaviour(refusal="invalid", **spelling))
    failure = refused(customer)
    sandbox.tenants.set(CUSTOMER, {"status": status})
    diagnosis = customer.diagnose(failure)
    assert diagnosis.cause is cause
    assert diagnosis.source == f"app/{CUSTOMER}"
    assert f"Makini shows the connection's status as '{status}'." in diagnosis.evidence
    # Its tokens are asked for each time: there is none to be put anywhere.
    assert "put it into the password" not in str(diagnosis)


# What else may be the case


def test_a_token_that_is_accepted_is_said_to_be(sandbox: Sandbox, connect: Connect) -> None:
    with connect(host=sandbox.url, password=TOKEN) as hook:
        diagnosis = hook.diagnose()
    assert (diagnosis.cause, diagnosis.is_dead, diagnosis.actions) == (Cause.NONE, False, ())
    assert len(sandbox.requests) == 2


def test_a_login_page_with_status_200_is_no_access(connect: Connect, server_of_pages: str) -> None:
    with connect(host=server_of_pages, password=TOKEN) as hook:
        diagnosis = hook.diagnose()
        works, message = hook.test_connection()
    assert diagnosis.cause is Cause.UNKNOWN
    assert diagnosis.readable == ()
    assert "login page" in str(diagnosis)
    assert (works, "host" in message) == (False, True)


def test_a_refusal_that_is_over_is_not_explained_away(sandbox: Sandbox, connect: Connect) -> None:
    sandbox.behave(Behaviour(refusal="invalid", refusal_wording="plain"))
    with connect(host=sandbox.url, password=TOKEN) as hook:
        failure = refused(hook)
        sandbox.behave()
        diagnosis = hook.diagnose(failure)
    assert diagnosis.cause is Cause.UNKNOWN
    assert "is answered now" in diagnosis.summary


def test_a_server_that_does_not_answer_leaves_the_cause_open(connect: Connect) -> None:
    with connect(host="http://127.0.0.1:1", password=TOKEN) as hook:
        diagnosis = hook.diagnose()
    assert (diagnosis.cause, diagnosis.is_dead) == (Cause.UNKNOWN, False)
    assert "no connection" in " ".join(diagnosis.evidence)


def test_a_server_that_is_broken_leaves_the_cause_open(sandbox: Sandbox, connect: Connect) -> None:
    sandbox.behave(Behaviour(fault_rate=1.0, faults=("500",)))
    with connect(host=sandbox.url, password=TOKEN) as hook:
        assert hook.diagnose().cause is Cause.UNKNOWN


def test_a_connection_that_can_not_be_used_at_all_is_no_matter_of_diagnosis(connect: Connect) -> None:
    with (
        connect(host="http://makini.example.com", password=TOKEN) as hook,
        pytest.raises(MakiniConfigurationError, match="allow_http"),
    ):
        hook.diagnose()


# What is told of it


def test_a_diagnosis_says_who_does_what_and_how_it_is_known(sandbox: Sandbox, connect: Connect) -> None:
    sandbox.behave(Behaviour(refusal="reauthorization"))
    text = str(diagnosed(sandbox, connect))
    lines = text.splitlines()
    assert lines[0].endswith("must be authorized again before the API gives any of its data.")
    assert lines[1:3] == [
        "What to do:",
        "  Your customer: connect the system to Makini again (reauthorize the connection).",
    ]
    assert "What was seen:" in lines
    assert "What could not be found out:" in lines
    assert "“the connection requires reauthorization”" in text
    assert lines[-1].startswith("Request IDs, for Makini's support: req-")


def test_a_diagnosis_as_json_says_the_same(sandbox: Sandbox, connect: Connect) -> None:
    sandbox.behave(Behaviour(refusal="revoked"))
    diagnosis = diagnosed(sandbox, connect)
    told = json.loads(json.dumps(diagnosis.as_json()))
    assert (told["cause"], told["dead"]) == ("token_invalid_or_revoked", True)
    assert told["asked_at"].startswith("2026-08-01T12:00:00")
    assert told["summary"] == diagnosis.summary
    assert len(told["request_ids"]) >= 2


def test_the_error_of_a_diagnosis_tells_it_and_keeps_the_facts_of_the_refusal(
    sandbox: Sandbox, connect: Connect
) -> None:
    sandbox.behave(Behaviour(denied=("eam/assets",), refusal_wording="code"))
    with connect(host=sandbox.url, password=TOKEN) as hook:
        failure = refused(hook)
        error = hook.diagnose(failure).error(failure)
    assert (error.status, error.code, error.request_id) == (403, "PERMISSION_DENIED", failure.request_id)
    assert str(error) == str(error.diagnosis)


def test_nothing_that_is_told_holds_the_token(sandbox: Sandbox, connect: Connect) -> None:
    sandbox.behave(Behaviour(refusal="revoked"))
    diagnosis = diagnosed(sandbox, connect)
    for part in (TOKEN, *TOKEN.split(".")[:2]):
        assert part not in json.dumps(diagnosis.as_json()) + str(diagnosis) + repr(diagnosis)


# Words that APIs use


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        ("AUTHENTICATION_FAILED", "the token is invalid or expired", None),
        ("AUTHENTICATION_FAILED", "Invalid or expired token", None),
        ("UNAUTHORIZED", "Unauthorized", None),
        (None, "Authorization Required", None),
        (None, "", None),
        ("TOKEN_EXPIRED", "", Cause.EXPIRED),
        (None, "JWT expired at 2026-08-01", Cause.EXPIRED),
        ("INVALID_TOKEN", "", Cause.INVALID),
        (None, "Token has been revoked", Cause.INVALID),
        ("REAUTH_REQUIRED", "", Cause.REAUTHORIZATION),
        (None, "Please reconnect the integration", Cause.REAUTHORIZATION),
        (None, "Connection requires authentication", Cause.REAUTHORIZATION),
        (None, "Platform credentials are invalid", Cause.SOURCE_CREDENTIALS),
        (None, "The source system's credentials were rejected", Cause.SOURCE_CREDENTIALS),
        (None, "credentials have been changed", Cause.SOURCE_CREDENTIALS),
        ("MISSING_AUTHORIZATION_HEADER", "", Cause.HEADER),
        (None, "No authorization header was provided", Cause.HEADER),
        (None, "Token not provided", Cause.HEADER),
        (None, "No token provided", Cause.HEADER),
        (None, "Missing Authentication Token", Cause.HEADER),
        (None, "Authentication credentials were not provided.", Cause.HEADER),
        # RFC 6750 has one code for all that is wrong with a token.
        ("invalid_token", "The access token expired", Cause.EXPIRED),
        ("INVALID_CREDENTIALS", "Credentials of the connected system are invalid", Cause.SOURCE_CREDENTIALS),
        ("INSUFFICIENT_SCOPE", "", Cause.PERMISSION),
        (None, "You are not allowed to read this", Cause.PERMISSION),
    ],
)
def test_the_words_of_an_error_are_understood(code: str | None, message: str, cause: Cause | None) -> None:
    assert cause_told(code, message) is cause


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("reauthorization_required", Cause.REAUTHORIZATION),
        ("Reauthorization needed", Cause.REAUTHORIZATION),
        ("NEEDS-REAUTH", Cause.REAUTHORIZATION),
        ("disconnected", Cause.REAUTHORIZATION),
        ("invalid_credentials", Cause.SOURCE_CREDENTIALS),
        ("fail", Cause.SOURCE_CREDENTIALS),
        ("revoked", Cause.INVALID),
        ("active", None),
        ("connected", None),
        ("online", None),
        ("offline", None),
    ],
)
def test_the_status_of_a_connection_is_understood(status: str, cause: Cause | None) -> None:
    assert status_tells(status) is cause
