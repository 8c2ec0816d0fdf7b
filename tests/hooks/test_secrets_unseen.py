"""What shows of a hook and of its failures, in each way in, has no secret: not even in local variables."""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from secret_services.database import Database

from makini_provider.api.errors import MakiniError, RefreshTokenRefusedError
from makini_provider.api.rotation import PairKeeper
from makini_provider.api.transport import RetryPolicy
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Behaviour, Sandbox

Connect = Callable[..., MakiniHook]
TOKEN = "tok-4711-nobody-may-see"
CLIENT_SECRET = "cs-4712-nobody-may-see"
REFRESH_TOKEN = "rt-4713-nobody-may-see"
PROXY_PASSWORD = "pp-4714-nobody-may-see"
SECRETS = (TOKEN, CLIENT_SECRET, REFRESH_TOKEN, PROXY_PASSWORD)
CUSTOMER = "09000207611898"

API_TOKEN = {"password": TOKEN}
APPLICATION = {"login": "sandbox-client", "password": CLIENT_SECRET}
ONE_CUSTOMER = APPLICATION | {"extra": {"makini_connection": CUSTOMER}}
PAIR = APPLICATION | {"extra": {"refresh_token": REFRESH_TOKEN, "token_store": "variable://"}}
PROXY = {"proxies": {"https": f"http://user:{PROXY_PASSWORD}@127.0.0.1:9"}}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(token=TOKEN, records=20) as sandbox:
        sandbox.authority.client_secret = CLIENT_SECRET
        yield sandbox


@pytest.fixture
def connect(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Open a hook of a connection, one that waits for nothing."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (1, 0.5, 30.0, 120.0))
    monkeypatch.setitem(PairKeeper.__init__.__kwdefaults__, "sleep", lambda _: None)

    def connect(**connection: Any) -> MakiniHook:
        fields = {"conn_type": "makini", "host": sandbox.url} | connection
        monkeypatch.setenv("AIRFLOW_CONN_MAKINI_DEFAULT", json.dumps(fields))
        return MakiniHook()

    with Database(tmp_path).running():
        yield connect
    sandbox.behave()


def kept_by_a_recorder(error: BaseException) -> str:
    """What a recorder of errors, such as Sentry, keeps; without the test's own frame."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, below, capture_locals=True).format())


@pytest.mark.parametrize(
    ("connection", "fault"),
    [
        pytest.param(API_TOKEN, Behaviour(refusal="revoked"), id="token refused"),
        pytest.param(API_TOKEN | {"host": "http://127.0.0.1:9"}, None, id="no server"),
        pytest.param({"password": f"{TOKEN} x"}, None, id="token with white space"),
        pytest.param({"password": TOKEN, "extra": PROXY | {"page_size": "x"}}, None, id="bad setting"),
        pytest.param({"password": TOKEN, "extra": f'"{REFRESH_TOKEN}'}, None, id="extra is no JSON"),
        pytest.param(
            {"password": TOKEN, "host": "https://makini.example", "extra": PROXY}, None, id="no proxy"
        ),
        pytest.param({"password": TOKEN, "conn_type": "http"}, None, id="another type"),
        pytest.param(ONE_CUSTOMER | {"login": "another"}, None, id="client refused"),
        pytest.param(ONE_CUSTOMER | {"host": "http://127.0.0.1:9"}, None, id="no server for tokens"),
        pytest.param(APPLICATION, None, id="no customer named"),
        pytest.param(PAIR, None, id="refresh token refused"),
        pytest.param(
            APPLICATION | {"extra": {"refresh_token": REFRESH_TOKEN, "token_store": "variable://x"}},
            None,
            id="a place that would show it",
        ),
    ],
)
def test_no_failure_has_a_secret(
    connect: Connect, sandbox: Sandbox, connection: dict[str, Any], fault: Behaviour | None
) -> None:
    if fault is not None:
        sandbox.behave(fault)
    hook = connect(**connection)
    with pytest.raises(MakiniError) as caught:
        next(iter(hook.list_records("eam/sites")))
    shown = kept_by_a_recorder(caught.value)
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_rotation_that_fails_has_no_secret(connect: Connect) -> None:
    hook = connect(**PAIR)
    with pytest.raises(RefreshTokenRefusedError) as caught:
        hook.rotate_tokens()
    shown = kept_by_a_recorder(caught.value)
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("connection", [API_TOKEN, ONE_CUSTOMER, PAIR], ids=["token", "application", "pair"])
def test_nothing_that_is_shown_of_a_hook_has_a_secret(connect: Connect, connection: dict[str, Any]) -> None:
    hook = connect(**connection)
    transport = hook.client.transport
    shown = [
        hook,
        hook.settings,
        hook.settings.credentials,
        hook.settings.transport,
        hook.client,
        transport,
        transport.session,
        transport.session.auth,
        pickle.dumps(hook),
        hook.test_connection(),
    ]
    text = "".join(f"{thing!r} {thing}" for thing in shown)
    assert not [secret for secret in SECRETS if secret in text]
