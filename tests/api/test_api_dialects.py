"""The published dialect: query strings to the letter, and answers never read as less than they are."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Request

from makini_provider.api.dialects import ListQuery, Page, list_parameters, parse_list
from makini_provider.api.errors import MakiniPagingError, MakiniProtocolError
from makini_provider.api.resources import get_resource

ASSETS = get_resource("eam/assets")
SITES = get_resource("eam/sites")  # declares no per_page
STATES_AN_END = {"meta": {"last_page": 1}}


def query_string(query: ListQuery, resource: Any = ASSETS) -> str:
    url = Request("GET", "http://x", params=list_parameters(resource, query)).prepare().url or ""
    return unquote(url.partition("?")[2])


def rows(number: int) -> list[dict[str, Any]]:
    return [{"key": str(n)} for n in range(number)]


def page_of(answer: Any, query: ListQuery | None = None) -> Page:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return parse_list(body, ASSETS, query or ListQuery())


# Requests


def test_the_plainest_request_asks_for_the_first_page() -> None:
    assert query_string(ListQuery()) == "page=1"


def test_one_filter_goes_without_filter_match() -> None:
    assert query_string(ListQuery({"name": "Pump"})) == "filter[name]=Pump&page=1"


def test_several_filters_must_all_match() -> None:
    query = ListQuery({"updatedAt:gteq": "2026-01-15T10:00:00Z", "updatedAt:lt": "2026-01-16T10:00:00Z"})
    assert query_string(query) == (
        "filter[updatedAt:gteq]=2026-01-15T10:00:00Z&filter[updatedAt:lt]=2026-01-16T10:00:00Z"
        "&filterMatch=all&page=1"
    )


@pytest.mark.parametrize(("ascending", "written"), [(True, "0"), (False, "1")])
def test_a_sort_is_0_upwards_and_1_downwards(ascending: bool, written: str) -> None:
    query = ListQuery(sort="updatedAt", ascending=ascending, page=3)
    assert query_string(query) == f"sort[updatedAt]={written}&page=3"


def test_per_page_is_sent_where_it_is_declared() -> None:
    assert query_string(ListQuery(page_size=50)) == "per_page=50&page=1"
    assert query_string(ListQuery(page_size=50), SITES) == "page=1"


def test_values_are_encoded_once() -> None:
    url = (
        Request("GET", "http://x", params=list_parameters(ASSETS, ListQuery({"name": "a&b=c%20+ü"})))
        .prepare()
        .url
    )
    assert url == "http://x/?filter%5Bname%5D=a%26b%3Dc%2520%2B%C3%BC&page=1"


# Answers: what there is


def test_records_come_in_the_servers_order_with_their_bytes() -> None:
    page = page_of(b'{"data":[{"key":"b","n":1.10},{"key":"a"}],"meta":{"last_page":1,"total":2}}')
    assert [(record.key, record.raw) for record in page.records] == [
        ("b", b'{"key":"b","n":1.10}'),
        ("a", b'{"key":"a"}'),
    ]
    assert (page.total, page.has_more) == (2, False)


def test_the_cursor_is_the_resources() -> None:
    body = b'{"data":[{"key":"1","updatedAt":"2026-01-15","createdAt":"2026-01-01"}],"meta":{"last_page":1}}'
    updated = parse_list(body, ASSETS, ListQuery()).records[0].cursor
    created = parse_list(body, get_resource("eam/meter-readings"), ListQuery()).records[0].cursor
    assert updated is not None
    assert created is not None
    assert (updated.day, created.day) == (15, 1)


def test_an_empty_list_is_an_answer() -> None:
    page = page_of({"data": [], "links": {"next": None}, "meta": {"last_page": 1, "total": 0}})
    assert page == Page([], 0, False)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert page_of(b"\xef\xbb\xbf" + json.dumps({"data": rows(1), **STATES_AN_END}).encode()).records


def test_further_fields_are_passed_over() -> None:
    assert page_of({"warnings": [1], "data": rows(1), "meta": {"last_page": 1, "links": [{"url": None}]}})


# Answers: whether there is more


@pytest.mark.parametrize(
    ("page", "records", "answer", "has_more"),
    [
        (1, 2, {"meta": {"last_page": 1}}, False),
        (1, 2, {"meta": {"last_page": 2}}, True),
        (2, 2, {"meta": {"last_page": 2}}, False),
        (1, 2, {"meta": {"last_page": "2"}}, True),
        (1, 2, {"meta": {"total": 2}}, False),
        (1, 2, {"meta": {"total": 3}}, True),
        (1, 2, {"meta": {"total": "3"}}, True),
        (1, 2, {"links": {"next": None}}, False),
        (1, 2, {"links": {"next": ""}}, False),
        (1, 2, {"links": {"first": "https://x/?page=1"}}, False),
        (1, 2, {"links": {"next": "https://x/?page=2"}}, True),
        # one sign of more is enough
        (1, 2, {"meta": {"last_page": 1, "total": 5}, "links": {"next": None}}, True),
        (1, 2, {"meta": {"last_page": 1, "total": 2}, "links": {"next": "https://x/?page=2"}}, True),
        (1, 2, {"meta": {"last_page": 2, "total": 2}, "links": {"next": None}}, True),
        # on later pages the total is held against what was reached
        (3, 2, {"meta": {"total": 6, "per_page": 2}}, False),
        (3, 2, {"meta": {"total": 7, "per_page": 2}}, True),
        (3, 1, {"meta": {"total": 5, "per_page": 2}}, False),
        (3, 1, {"meta": {"total": 5, "to": 5}}, False),
        (3, 2, {"meta": {"total": 9, "to": 6, "per_page": 100}}, True),
        (2, 2, {"meta": {"total": 5}}, True),
        (2, 2, {"meta": {"total": 4}}, False),
        (4, 0, {"meta": {"total": 5, "per_page": 2, "to": None}}, False),
        (4, 0, {"meta": {"total": 5}}, False),
        # what contradicts the records does not count
        (1, 1, {"meta": {"last_page": 0}, "links": {"next": None}}, False),
        (1, 2, {"meta": {"last_page": 0, "total": 5}}, True),
        (1, 2, {"meta": {"last_page": 3, "total": 1}}, True),
        (1, 2, {"meta": {"last_page": 1, "total": -1}}, False),
        (1, 0, {"meta": {"last_page": 0, "total": 0}}, False),
        # parts of another type say nothing
        (1, 2, {"meta": {"last_page": 1}, "links": []}, False),
        (1, 2, {"meta": [], "links": {"next": "x"}}, True),
        (1, 2, {"meta": {"last_page": True, "total": [2]}, "links": {"next": "x"}}, True),
    ],
)
def test_whether_there_is_more(page: int, records: int, answer: dict[str, Any], has_more: bool) -> None:
    assert page_of({"data": rows(records), **answer}, ListQuery(page=page)).has_more is has_more


def test_a_short_page_is_not_the_end() -> None:
    page = page_of({"data": rows(1), "meta": {"last_page": 9, "per_page": 1}}, ListQuery(page_size=100))
    assert page.has_more


@pytest.mark.parametrize(
    ("total", "read"),
    [
        (7, 7),
        ("7", 7),
        (7.0, 7),
        (1, None),
        (-1, None),
        (True, None),
        (None, None),
        ("many", None),
        ([7], None),
    ],
)
def test_a_total_is_read_where_it_can_be_believed(total: Any, read: int | None) -> None:
    assert page_of({"data": rows(2), "meta": {"total": total, "last_page": 1}}).total == read


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"meta": None, "links": None},
        {"meta": {}, "links": {}},
        {"meta": [], "links": []},
        {"meta": {"last_page": 0}},
        {"meta": {"last_page": 0, "total": 0}},
        {"meta": {"total": 1}},
        {"meta": {"last_page": "?", "total": "?"}},
        {"meta": {"per_page": 100, "current_page": 1}},
    ],
)
def test_an_answer_that_does_not_tell_whether_there_is_more_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(MakiniPagingError, match="does not say whether there are further pages"):
        page_of({"data": rows(2), **answer})


# What is no answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body"),
        (b" \r\n ", "an empty body"),
        (b"<!DOCTYPE html><title>Sign in</title>", "an HTML or XML page"),
        (b"\n<?xml version='1.0'?><x/>", "an HTML or XML page"),
        (b"{}", "a JSON object of another shape"),
        (b'{"items": []}', "a JSON object of another shape"),
        (b'{"data": null}', "a JSON object of another shape"),
        (b'{"data": {}}', "a JSON object of another shape"),
        (b'{"data": "x"}', "a JSON object of another shape"),
        (b'{"Data": []}', "a JSON object of another shape"),
        (b"[]", "no JSON object"),
        (b'[{"key":"1"}]', "no JSON object"),
        (b"null", "no JSON object"),
        (b"maintenance", "no JSON object"),
        ("{}".encode("utf-16"), "no JSON object"),
    ],
)
def test_a_good_status_with_anything_but_a_list_is_an_error_that_says_what_came(
    body: bytes, said: str
) -> None:
    with pytest.raises(MakiniProtocolError, match="is not a list answer") as caught:
        page_of(body)
    assert said in str(caught.value)
    assert ASSETS.path in str(caught.value)


@pytest.mark.parametrize(
    "item", ["null", "5", '"A-1"', "[]", '[{"key":"1"}]', "true", '{"key":NaN}', '{"a":NaN}']
)
def test_a_list_of_anything_but_objects_is_an_error(item: str) -> None:
    with pytest.raises(MakiniProtocolError):
        page_of(b'{"data":[{"key":"1"},%b],"meta":{"last_page":1}}' % item.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[{"key":"1","name":"caf\xe9"}],"meta":{"last_page":1}}',
        b'{"data":[{"key":"1","name":"\xed\xa0\x80"}],"meta":{"last_page":1}}',
        b'{"data":[{"key":"1","\xff":1}],"meta":{"last_page":1}}',
        b'{"data":[],"meta":{"last_page":1,"x":"\xff"}}',
    ],
)
def test_bytes_that_are_no_utf_8_are_an_error(body: bytes) -> None:
    with pytest.raises(MakiniProtocolError):
        page_of(body)


@pytest.mark.parametrize("where", ['{"data":[{"a":%s}]}', '{"data":[],"meta":{"a":%s}}', '{"x":%s}', "%s"])
@pytest.mark.parametrize("depth", [1200, 200_000])
def test_nesting_too_deep_to_follow_is_an_error_and_no_crash(where: str, depth: int) -> None:
    with pytest.raises(MakiniProtocolError):
        page_of((where % ("[" * depth + "]" * depth)).encode())


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_every_cut_of_an_answer_is_an_error(length: int) -> None:
    body = json.dumps({"data": rows(length), "links": {"next": None}, "meta": {"last_page": 1}}).encode()
    for end in range(len(body)):
        with pytest.raises(MakiniProtocolError):
            page_of(body[:end])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["data", "meta", "links", "next", "total", "to", "last_page", "per_page", "key"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()), st.integers(1, 5))
def test_any_body_gives_a_page_or_a_protocol_error(body: bytes, page: int) -> None:
    try:
        answer = page_of(body, ListQuery(page=page))
    except MakiniProtocolError:
        return
    assert isinstance(answer, Page)


@given(
    st.lists(st.fixed_dictionaries({"key": st.text()}), max_size=4),
    st.dictionaries(st.sampled_from(["last_page", "total", "to", "per_page"]), json_values),
    json_values,
    st.integers(1, 4),
)
def test_any_meta_keeps_every_record_or_is_a_protocol_error(
    records: list[dict[str, str]], meta: Any, links: Any, page: int
) -> None:
    try:
        answer = page_of({"data": records, "meta": meta, "links": links}, ListQuery(page=page))
    except MakiniProtocolError:
        return
    assert [json.loads(record.raw) for record in answer.records] == records
