"""The hook against a Makini API with data in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from makini_provider.api.errors import MakiniNotFoundError
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Sandbox

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=1, token="t-4711", records=200, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def hook(sandbox: Sandbox, connect: Callable[..., MakiniHook]) -> Iterator[MakiniHook]:
    with connect(host=sandbox.url, password="t-4711", extra={"page_size": 30}) as hook:
        yield hook


@pytest.mark.parametrize("resource", ["eam/work-orders", "eam/uom", "erp/purchase-orders", "wms/sites"])
def test_list_records_gives_as_many_as_are_counted(hook: MakiniHook, resource: str) -> None:
    found = list(hook.list_records(resource))
    assert found
    assert len(found) == hook.count_records(resource)
    assert len({record["key"] for record in found}) == len(found)


def test_two_windows_give_what_one_gives(hook: MakiniHook) -> None:
    start, middle = NOW - timedelta(days=30), NOW - timedelta(days=10)

    def keys(since: datetime, before: datetime) -> list[str]:
        found = hook.list_records("eam/work-orders", updated_since=since, updated_before=before)
        return [record["key"] for record in found]

    assert keys(start, middle)
    assert keys(start, middle) + keys(middle, NOW) == keys(start, NOW)


def test_get_record_gives_the_record_of_the_list(hook: MakiniHook) -> None:
    listed = next(hook.list_records("eam/assets"))
    assert hook.get_record("eam/assets", listed["key"])["key"] == listed["key"]


def test_a_record_that_is_not_there_is_told_apart(hook: MakiniHook) -> None:
    with pytest.raises(MakiniNotFoundError):
        hook.get_record("eam/assets", "no-such-key")


def test_the_test_button_says_whose_data_it_is(hook: MakiniHook) -> None:
    works, message = hook.test_connection()
    assert works
    assert hook.get_integration()["company_name"] in message


def test_the_test_button_explains_a_wrong_token(sandbox: Sandbox, connect: Callable[..., MakiniHook]) -> None:
    works, message = connect(host=sandbox.url, password="another").test_connection()
    assert not works
    assert "HTTP 401" in message
