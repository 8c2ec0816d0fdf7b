"""Each way in, from an Airflow connection to records, against a real server."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from makini_provider.api.errors import (
    ClientRefusedError,
    MakiniConfigurationError,
    MakiniForbiddenError,
    MakiniUnauthorizedError,
    UnknownMakiniConnectionError,
)
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Behaviour, Sandbox

FIRST, SECOND, _, DEAD = ("09000207611898", "09000207611899", "09000207611900", "09000207611901")
CLIENT_SECRET = "cs-0815-of-the-tests"

Open = Callable[..., MakiniHook]


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(records=120) as sandbox:
        sandbox.authority.client_secret = CLIENT_SECRET
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    yield running
    running.behave()
    running.forget_requests()
    running.authority.client_secret = CLIENT_SECRET


@pytest.fixture
def application(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a hook of an application's connection."""
    opened: list[MakiniHook] = []

    def open_hook(makini_connection: str | None = None, **extra: Any) -> MakiniHook:
        connection = {
            "conn_type": "makini",
            "host": sandbox.url,
            "login": sandbox.authority.client_id,
            "password": CLIENT_SECRET,
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_APP", json.dumps(connection))
        opened.append(MakiniHook("app", makini_connection))
        return opened[-1]

    yield open_hook
    for hook in opened:
        hook.close()


def asked(sandbox: Sandbox, end: str) -> int:
    return sum(request["path"].endswith(end) for request in sandbox.requests)


def keys(sandbox: Sandbox, connection: str) -> list[str]:
    return [record["key"] for record in sandbox.tenants.store(connection).records("eam/work-orders")]


def test_an_application_reads_each_of_its_connections(sandbox: Sandbox, application: Open) -> None:
    for key in (FIRST, SECOND):
        found = [record["key"] for record in application(key).list_records("eam/work-orders")]
        assert sorted(found) == sorted(keys(sandbox, key))
    assert application(makini_connection=SECOND).get_integration()["company_name"] == "Harbour Mill Paper"


@pytest.mark.parametrize("spelling", ["snake", "camel", "data", "flat"])
@pytest.mark.parametrize("expires_in", ["duration", "duration_text", "absolute", "absolute_text", "absent"])
@pytest.mark.parametrize("opaque", [False, True])
def test_tokens_are_understood_in_every_spelling(
    sandbox: Sandbox, application: Open, spelling: Any, expires_in: Any, opaque: bool
) -> None:
    sandbox.behave(Behaviour(grant_spelling=spelling, expires_in=expires_in, opaque_tokens=opaque))
    hook = application(SECOND)
    for _ in range(3):
        assert hook.count_records("eam/sites")
    assert (asked(sandbox, "/link/token"), asked(sandbox, f"/{SECOND}/token")) == (1, 1)


def test_twenty_threads_ask_for_one_token(sandbox: Sandbox, application: Open) -> None:
    hook = application(SECOND)
    with ThreadPoolExecutor(20) as threads:
        assert len(set(threads.map(lambda _: hook.count_records("eam/sites"), range(20)))) == 1
    assert (asked(sandbox, "/link/token"), asked(sandbox, f"/{SECOND}/token")) == (1, 1)


def test_an_hour_long_read_on_five_minute_tokens_meets_no_401(
    sandbox: Sandbox, application: Open, caplog: pytest.LogCaptureFixture
) -> None:
    hook = application(SECOND)
    found = 0
    with caplog.at_level(logging.DEBUG, "makini_provider"):
        for _ in hook.list_records("eam/work-orders"):
            found += 1
            for _ in range(3):
                sandbox.store.clock.advance(timedelta(seconds=10))
                hook.count_records("eam/sites")
    assert found == len(keys(sandbox, SECOND)) == 120
    assert "refused" not in caplog.text
    assert ": 401" not in caplog.text
    assert 11 <= asked(sandbox, f"/{SECOND}/token") <= 15


def test_revoked_tokens_are_replaced_and_reading_goes_on(
    sandbox: Sandbox, application: Open, caplog: pytest.LogCaptureFixture
) -> None:
    hook = application(SECOND)
    assert hook.count_records("eam/sites")
    sandbox.authority.revoke()
    with caplog.at_level(logging.INFO, "makini_provider"):
        assert hook.count_records("eam/sites")
    assert caplog.text.count("the token was refused; sent once more with another one.") == 2


def test_a_record_is_created_also_where_the_token_was_revoked(sandbox: Sandbox, application: Open) -> None:
    hook = application(SECOND)
    hook.count_records("eam/sites")
    before = len(keys(sandbox, SECOND))
    sandbox.authority.revoke()
    hook.create_record("eam/work-orders", {"title": "Replace seal"})
    assert len(keys(sandbox, SECOND)) == before + 1
    sandbox.tenants.store(SECOND).delete("eam/work-orders", keys(sandbox, SECOND)[-1], hard=True)


def test_faults_of_the_token_endpoint_are_waited_for(sandbox: Sandbox, application: Open) -> None:
    sandbox.behave(Behaviour(token_faults=("503", "429", "cut"), retry_after="0"))
    assert application(SECOND).count_records("eam/sites")
    assert asked(sandbox, "/link/token") == 4


def test_without_a_makini_connection_the_system_is_open_and_all_else_says_what_is_missing(
    application: Open,
) -> None:
    hook = application()
    assert [one["key"] for one in hook.list_connections()][:2] == [FIRST, SECOND]
    assert hook.run("/api/system/connections").json()["meta"]["total"] == 4
    with pytest.raises(MakiniConfigurationError, match="none is named") as caught:
        hook.count_records("eam/sites")
    assert "makini_connection" in caught.value.remedy


def test_a_connection_that_does_not_exist_is_named_with_those_that_do(application: Open) -> None:
    with pytest.raises(UnknownMakiniConnectionError, match=rf"'c-9'.*'{FIRST}' \(Northfield Foods\)"):
        application("c-9").count_records("eam/sites")


@pytest.mark.parametrize("named", [None, SECOND])
def test_a_wrong_client_secret_is_told_as_such(
    sandbox: Sandbox, application: Open, named: str | None
) -> None:
    sandbox.authority.client_secret = "another"
    with pytest.raises(ClientRefusedError, match="client authentication failed"):
        application(named).count_records("eam/sites")
    with pytest.raises(ClientRefusedError):
        application(named).list_connections()


def test_an_application_may_read_its_own_list_only(sandbox: Sandbox, application: Open) -> None:
    with pytest.raises(MakiniForbiddenError):
        application().run("/api/system/clients")


def test_the_test_button_says_which_customers_there_are(sandbox: Sandbox, application: Open) -> None:
    works, message = application().test_connection()
    assert works
    assert "Of 4 Makini connections 3 can be read: Northfield Foods (09000207611898), " in message
    assert application(SECOND).test_connection()[0]
    sandbox.authority.client_secret = "another"
    works, message = application().test_connection()
    assert not works
    assert "client authentication failed" in message


def test_a_pickled_hook_holds_no_secret_and_names_its_customer(application: Open) -> None:
    hook = application(SECOND)
    hook.count_records("eam/sites")
    pickled = pickle.dumps(hook)
    assert CLIENT_SECRET.encode() not in pickled
    assert b"eyJ" not in pickled
    assert pickle.loads(pickled).count_records("eam/sites")
    assert SECOND in repr(hook)


def test_minted_tokens_are_masked_before_they_are_used(
    application: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("makini_provider.hooks.makini.mask_secret", masked.append)
    hook = application(SECOND)
    hook.count_records("eam/sites")
    session = hook.get_conn()
    token = session.get(f"{hook.base_url}/api/eam/sites").request.headers["Authorization"].split()[1]
    assert token in masked
    assert CLIENT_SECRET in masked
    assert len([secret for secret in masked if secret.startswith("eyJ")]) >= 2


@pytest.mark.parametrize("wording", ["plain", "message"])
def test_a_customer_that_must_connect_again_is_diagnosed_by_the_applications_list(
    sandbox: Sandbox, application: Open, wording: Any
) -> None:
    sandbox.tenants.set(SECOND, {"status": "reauthorization_required"})
    sandbox.behave(Behaviour(refusal="reauthorization", refusal_wording=wording))
    hook = application(SECOND)
    with pytest.raises(MakiniUnauthorizedError) as caught:
        hook.count_records("eam/sites")
    text = str(hook.diagnose(caught.value))
    sandbox.tenants.set(SECOND, {"status": "connected"})
    assert f"app/{SECOND}" in text
    assert "reauthorization_required" in text
    assert "eyJ" not in text
