"""A refresh token's connection against a real server: what is spent, when, and by whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from makini_provider.api import rotation
from makini_provider.api.errors import RefreshTokenRefusedError
from makini_provider.api.token_pair import TokenPair
from makini_provider.hooks import token_stores
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Behaviour, Sandbox

CUSTOMER = "09000207611899"

Open = Callable[..., MakiniHook]


class Store:
    """A token store in memory."""

    name = "memory://acme"

    def __init__(self) -> None:
        self.pair: TokenPair | None = None

    def load(self) -> TokenPair | None:
        return self.pair

    def save(self, pair: TokenPair) -> None:
        self.pair = pair


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(records=30) as sandbox:
        yield sandbox


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(token_stores, "open_token_store", lambda uri, *, conn_id: store)
    monkeypatch.setattr(rotation, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(rotation, "_LOOK_EVERY", 0.0)
    return store


@pytest.fixture
def open_hook(sandbox: Sandbox, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a hook whose seed is a new one of the sandbox, the first time."""
    seed = sandbox.authority.pair(CUSTOMER)["refresh_token"]
    opened: list[MakiniHook] = []

    def open_hook(seed: str = seed) -> MakiniHook:
        connection = {
            "conn_type": "makini",
            "host": sandbox.url,
            "login": sandbox.authority.client_id,
            "password": sandbox.authority.client_secret,
            "extra": {"refresh_token": seed, "token_store": "memory://acme"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_ACME", json.dumps(connection))
        opened.append(MakiniHook("acme"))
        return opened[-1]

    yield open_hook
    for hook in opened:
        hook.close()


def refreshes(sandbox: Sandbox) -> int:
    return sum(request["path"] == "/link/token" for request in sandbox.requests)


def test_the_first_hook_refreshes_and_the_others_use_what_it_kept(sandbox: Sandbox, open_hook: Open) -> None:
    for _ in range(3):
        hook = open_hook()
        assert hook.get_integration()["company_name"] == "Harbour Mill Paper"
        assert hook.count_records("eam/sites")
    assert refreshes(sandbox) == 1


def test_twenty_threads_refresh_once(sandbox: Sandbox, open_hook: Open) -> None:
    hook = open_hook()
    with ThreadPoolExecutor(20) as threads:
        assert len(set(threads.map(lambda _: hook.count_records("eam/sites"), range(20)))) == 1
    assert refreshes(sandbox) == 1


def test_a_token_that_runs_out_in_the_middle_is_replaced(
    sandbox: Sandbox, open_hook: Open, store: Store
) -> None:
    hook = open_hook()
    hook.count_records("eam/sites")
    first = store.pair
    sandbox.store.clock.advance(timedelta(days=30))
    assert hook.count_records("eam/sites")
    assert store.pair is not None
    assert store.pair != first
    assert sandbox.authority.knows_refresh_token(store.pair.refresh_token)


def test_a_refused_token_is_replaced_unless_it_is_new(sandbox: Sandbox, open_hook: Open) -> None:
    hook = open_hook()
    hook.count_records("eam/sites")
    sandbox.authority.revoke()
    with pytest.raises(Exception, match="401"):
        hook.count_records("eam/sites")
    assert refreshes(sandbox) == 1
    sandbox.store.clock.advance(timedelta(hours=2))
    assert hook.count_records("eam/sites")
    assert refreshes(sandbox) == 2


def test_looking_whether_it_works_spends_nothing(sandbox: Sandbox, open_hook: Open, store: Store) -> None:
    works, message = open_hook().test_connection()
    assert not works
    assert "memory://acme holds no access token that is good now" in message
    assert refreshes(sandbox) == 0
    open_hook().count_records("eam/sites")
    works, message = open_hook().test_connection()
    assert works, message
    sandbox.authority.revoke()
    sandbox.store.clock.advance(timedelta(hours=2))
    assert not open_hook().test_connection()[0]
    assert open_hook().diagnose().cause
    assert refreshes(sandbox) == 1


def test_rotation_is_due_once_half_of_the_life_is_over(sandbox: Sandbox, open_hook: Open) -> None:
    first = open_hook().rotate_tokens()
    assert first is not None
    assert first["refreshed"]
    hook = open_hook()
    hook.count_records("eam/sites")
    again = hook.rotate_tokens()
    assert again is not None
    assert not again["refreshed"]
    sandbox.store.clock.advance(timedelta(days=15, minutes=1))
    hook.count_records("eam/sites")
    due = hook.rotate_tokens()
    assert due is not None
    assert due["refreshed"]
    assert refreshes(sandbox) == 2


def test_a_lost_answer_is_told_by_the_next_task(sandbox: Sandbox, open_hook: Open) -> None:
    sandbox.behave(Behaviour(token_faults=("cut",)))
    with pytest.raises(Exception, match="cut off"):
        open_hook().count_records("eam/sites")
    with pytest.raises(RefreshTokenRefusedError, match="was cut off before the new pair was kept"):
        open_hook().count_records("eam/sites")
    new = sandbox.authority.pair(CUSTOMER)["refresh_token"]
    assert open_hook(new).count_records("eam/sites")


def test_tokens_of_the_store_and_the_seed_are_masked(
    sandbox: Sandbox, open_hook: Open, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("makini_provider.hooks.makini.mask_secret", masked.append)
    hook = open_hook()
    hook.count_records("eam/sites")
    assert store.pair is not None
    credentials = hook.settings.credentials
    assert {store.pair.access_token, store.pair.refresh_token} <= set(masked)
    assert credentials.seed in masked  # type: ignore[union-attr]
    assert credentials.client_secret in masked  # type: ignore[union-attr]
