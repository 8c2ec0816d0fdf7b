"""A task that keeps a pair of tokens in a store, and one that reads it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(schedule=None)
def keeps_tokens() -> None:
    @task
    def save() -> None:
        from makini_provider.api.token_pair import TokenPair
        from makini_provider.hooks.token_stores import open_token_store

        store = open_token_store(os.environ["MAKINI_TEST_STORE"], conn_id="acme")
        print("before:", store.load())
        store.save(TokenPair("access-4711-secret", "refresh-4711-secret", datetime(2026, 11, 24, tzinfo=UTC)))

    @task
    def load() -> str:
        from makini_provider.hooks.token_stores import open_token_store

        pair = open_token_store(os.environ["MAKINI_TEST_STORE"], conn_id="acme").load()
        assert pair is not None
        print("the tokens are", pair.access_token, pair.refresh_token)
        return f"{pair.access_token[:6]} of {pair.obtained_at:%Y}"

    save() >> load()


keeps_tokens()
