"""Where rotating tokens are kept: whole or not at all, the latest wins, and nothing fails in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from places import Database, Service

from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniError,
    TokenStoreError,
    TokenStoreUnusableError,
)
from makini_provider.api.token_pair import Refreshing, TokenPair, TokenStore
from makini_provider.hooks.token_stores import open_token_store

NOW = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
ACCESS, REFRESH = "access-4711-nobody-may-see", "refresh-4711-nobody-may-see"
PAIR = TokenPair(ACCESS, REFRESH, obtained_at=NOW, expires_at=NOW + timedelta(days=30))


@pytest.fixture(params=["variable"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    service = {"variable": Database}[request.param](tmp_path)
    with service.running():
        yield service


@pytest.fixture
def store(service: Service) -> TokenStore:
    return open_token_store(service.uri, conn_id="acme")


def shows_no_token(error: MakiniError) -> bool:
    """Neither the error nor what it says it comes from has one."""
    causes = [error, error.__cause__, *([] if error.__suppress_context__ else [error.__context__])]
    return not any(token in f"{cause!r} {cause}" for token in (ACCESS, REFRESH) for cause in causes)


def test_a_new_place_has_no_pair(store: TokenStore) -> None:
    assert store.load() is None


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(PAIR, id="whole"),
        pytest.param(TokenPair("", REFRESH, obtained_at=NOW), id="the refresh token only"),
        pytest.param(
            replace(PAIR, refreshing=Refreshing("me", NOW), seeds=("a1", "b2")), id="while it is refreshed"
        ),
    ],
)
def test_what_was_saved_is_loaded_by_whoever_opens_the_store(
    service: Service, store: TokenStore, pair: TokenPair
) -> None:
    store.save(pair)
    assert open_token_store(service.uri, conn_id="acme").load() == pair


def test_the_latest_pair_wins(store: TokenStore) -> None:
    for number in range(3):
        store.save(replace(PAIR, refresh_token=f"refresh-{number}"))
        loaded = store.load()
        assert loaded is not None
        assert loaded.refresh_token == f"refresh-{number}"


def test_both_tokens_are_kept_in_one_document(service: Service, store: TokenStore) -> None:
    store.save(PAIR)
    document = json.loads(service.text() or "")
    assert document["format_version"] == 1
    assert document["connection"] == "acme"
    assert document["tokens"]["access_token"] == ACCESS
    assert document["tokens"]["refresh_token"] == REFRESH


@pytest.mark.parametrize(
    "text",
    [
        "a password of another program",
        "{}",
        "[" * 5000,
        '{"format_version": 2, "connection": "acme"}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '"}}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '",'
        '"refresh_token":"","obtained_at":"2026-11-24T08:00:00Z"}}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '",'
        '"refresh_token":"r","obtained_at":"2026-11-24T08:00:00"}}',
    ],
)
def test_what_is_no_pair_is_an_error_and_stays(service: Service, store: TokenStore, text: str) -> None:
    service.put(text)
    with pytest.raises(TokenStoreUnusableError, match=r"holds something that is not a pair") as caught:
        store.load()
    assert store.name in str(caught.value)
    assert shows_no_token(caught.value)
    assert service.text() == text


def test_the_pair_of_another_connection_is_refused(service: Service, store: TokenStore) -> None:
    store.save(PAIR)
    other = open_token_store(service.uri, conn_id="other")
    with pytest.raises(TokenStoreUnusableError, match=r"the tokens of connection 'acme', not of 'other'"):
        other.load()


def test_a_store_that_is_down_is_an_error_that_a_retry_may_mend(service: Service, store: TokenStore) -> None:
    store.save(PAIR)
    with service.down():
        for operation in (store.load, lambda: store.save(replace(PAIR, access_token="a2"))):
            with pytest.raises(TokenStoreError, match=store.name) as caught:
                operation()
            assert caught.value.retryable
            assert caught.value.remedy
            assert shows_no_token(caught.value)
    assert store.load() == PAIR


def test_what_may_only_be_read_can_t_be_written(service: Service, store: TokenStore) -> None:
    store.save(PAIR)
    with service.read_only():
        assert store.load() == PAIR
        with pytest.raises(TokenStoreError, match=r"can't be written") as caught:
            store.save(replace(PAIR, access_token="access-2"))
    assert caught.value.remedy
    assert shows_no_token(caught.value)
    assert store.load() == PAIR


def test_nothing_that_is_shown_of_a_store_is_secret(store: TokenStore) -> None:
    store.save(PAIR)
    shown = f"{store!r} {store} {store.name} {store.load()!r}"
    assert ACCESS not in shown
    assert REFRESH not in shown


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("makini_acme_tokens", r"is not a URI\."),
        ("redis://tokens", r"no such kind of store; known are variable"),
        ("variable://user:pass@tokens", r"contains a password"),
        ("variable://tokens?ttl=1", r"has the option 'ttl', which is not known"),
        ("variable://aws_default@tokens", r"names an Airflow connection before '@'"),
        ("variable://makini_acme", r"whose value Airflow would show in the UI"),
        ("variable://" + "token" * 51, r"more than 250 characters"),
    ],
)
def test_a_uri_that_can_t_be_used_is_told(uri: str, message: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=message) as caught:
        open_token_store(uri, conn_id="acme")
    assert caught.value.remedy


def test_a_variable_without_a_name_is_named_after_the_connection() -> None:
    assert open_token_store("variable://", conn_id="acme").name == "variable://makini_acme_tokens"
