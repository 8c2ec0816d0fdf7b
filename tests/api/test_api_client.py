"""The client: records, counts, the state of Makini's own sync, and an application's connections."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Request
from scripted_server import Reply, ScriptedServer, Seen, as_json, reply

from makini_provider.api import client as client_module
from makini_provider.api.client import MakiniClient, record_path
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniNotFoundError,
    MakiniPagingError,
    MakiniProtocolError,
    MakiniUnauthorizedError,
    MalformedAnswerError,
)
from makini_provider.api.resources import get_resource

ASSETS = get_resource("eam/assets")


def a_list(rows: list[Any], **meta: Any) -> Reply:
    return as_json({"data": rows, "links": {"next": None}, "meta": meta})


# Lists


def test_a_page_comes_with_the_time_it_was_asked_for(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(
        reply(404, Date="Wed, 01 Jan 2020 10:00:00 GMT"),
        a_list([{"key": "1", "updatedAt": "2026-01-15"}], total=1),
    )
    with pytest.raises(MakiniNotFoundError):
        client.get_record(ASSETS, "x")
    page, asked_at = client.list_page(ASSETS, ListQuery({"name": "a"}, sort="updatedAt", page_size=10))
    assert [record.key for record in page.records] == ["1"]
    assert asked_at.replace(second=0, microsecond=0) == datetime(2020, 1, 1, 10, tzinfo=UTC)
    assert server.seen[1].target == (
        "/api/eam/assets?filter%5Bname%5D=a&sort%5BupdatedAt%5D=0&per_page=10&page=1"
    )
    assert client.clock is client.transport.clock


LOGIN_PAGE = reply(200, "<html>Sign in</html>", Content_Type="text/html")


def test_an_html_page_with_a_good_status_is_no_empty_list(
    server: ScriptedServer, client: MakiniClient
) -> None:
    server.otherwise = LOGIN_PAGE
    with pytest.raises(MalformedAnswerError, match="HTML"):
        client.list_page(ASSETS, ListQuery())


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", '{"data": [{"key": "1'], ids=repr)
def test_what_is_no_answer_is_asked_for_again(
    server: ScriptedServer, client: MakiniClient, body: str
) -> None:
    server.then(reply(200, body), a_list([{"key": "1"}], total=1))
    page, _ = client.list_page(ASSETS, ListQuery())
    assert [record.key for record in page.records] == ["1"]
    assert len(server.seen) == 2


def test_a_record_is_not_created_twice_because_the_answer_is_no_record(
    server: ScriptedServer, client: MakiniClient
) -> None:
    server.then(LOGIN_PAGE)
    with pytest.raises(MalformedAnswerError):
        client.create_record(ASSETS, {"name": "pump"})
    assert len(server.seen) == 1


def test_a_count_is_the_total_of_a_one_record_request(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(a_list([{"key": "1"}], total=42), a_list([{"key": "1"}], last_page=3))
    assert client.count(ASSETS, {"name": "a"}) == 42
    assert client.count(ASSETS) is None
    assert server.seen[0].target == "/api/eam/assets?filter%5Bname%5D=a&per_page=1&page=1"


# Single records


def test_a_record_is_fetched_created_and_changed(server: ScriptedServer, client: MakiniClient) -> None:
    record = {"key": "A-1", "name": "Pumpe Süd", "price": 1.5}
    server.otherwise = as_json({"data": record})
    assert client.get_record(ASSETS, "A-1") == record
    assert client.create_record(ASSETS, {"name": "Pumpe Süd"}) == record
    assert client.update_record(ASSETS, "A-1", {"price": 1.5}) == record
    assert [(seen.method, seen.target) for seen in server.seen] == [
        ("GET", "/api/eam/assets/A-1"),
        ("POST", "/api/eam/assets"),
        ("PUT", "/api/eam/assets/A-1"),
    ]
    assert server.seen[2].body == b'{"price": 1.5}'


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("A-1", "A-1"),
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("50%", "50%25"),
        ("%2e%2e", "%252e%252e"),
        ("a b", "a%20b"),
        ("ü/漢", "%C3%BC%2F%E6%BC%A2"),
        ("a?b#c", "a%3Fb%23c"),
        ("...", "..."),
        ("a\\b", "a%5Cb"),
        (":@;,+", "%3A%40%3B%2C%2B"),
    ],
)
def test_a_key_is_one_segment_whatever_it_contains(
    server: ScriptedServer, client: MakiniClient, key: str, target: str
) -> None:
    server.then(as_json({"data": {"key": key}}))
    assert client.get_record(ASSETS, key) == {"key": key}
    assert server.seen[0].target == f"/api/eam/assets/{target}"


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_that_would_bend_the_path_is_refused(
    server: ScriptedServer, client: MakiniClient, key: str
) -> None:
    with pytest.raises(MakiniConfigurationError, match="can't name a record of eam/assets"):
        client.get_record(ASSETS, key)
    with pytest.raises(MakiniConfigurationError):
        client.update_record(ASSETS, key, {})
    assert server.seen == []


@given(st.text(min_size=1).filter(lambda key: key not in (".", "..")))
def test_any_key_stays_below_its_resource(key: str) -> None:
    path = record_path(ASSETS, key)
    url = Request("GET", f"https://x{path}").prepare().url or ""
    assert url.startswith("https://x/api/eam/assets/")
    assert url.count("/") == 6
    assert "?" not in url
    assert "#" not in url


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"data": null}', b'{"data": []}', b'{"data": "x"}', b"\xff"],
)
def test_an_answer_without_a_record_is_a_protocol_error(
    server: ScriptedServer, client: MakiniClient, body: bytes
) -> None:
    server.then(reply(200, body))
    with pytest.raises(MakiniProtocolError):
        client.get_record(ASSETS, "A-1")


def test_a_byte_order_mark_before_a_record_is_passed_over(
    server: ScriptedServer, client: MakiniClient
) -> None:
    server.then(reply(200, b'\xef\xbb\xbf{"data": {"key": "A-1"}}'))
    assert client.get_record(ASSETS, "A-1") == {"key": "A-1"}


# Makini's own synchronisation


def test_a_completed_sync_has_an_end(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(
        as_json({"data": {"id": 5, "sync_status": "done", "sync_updated_at": "2026-01-15T10:00:00Z"}})
    )
    state = client.integration()
    assert state.sync_status == "done"
    assert state.completed_at == datetime(2026, 1, 15, 10, tzinfo=UTC)
    assert state.details["id"] == 5
    assert server.seen[0].target == "/api/integrations/current"


@pytest.mark.parametrize(
    ("status", "read", "completed"),
    [
        ("fulldone", "fulldone", True),
        (" Done ", "done", True),
        ("FULLDONE", "fulldone", True),
        ("inprogress", "inprogress", False),
        ("In Progress", "in progress", False),
        ("error", "error", False),
        ("fail", "fail", False),
        ("something new", "something new", False),
        (None, None, False),
        ("", None, False),
        (1, "1", False),
        (["done"], "['done']", False),
    ],
)
def test_only_a_state_of_completion_has_an_end(
    server: ScriptedServer, client: MakiniClient, status: Any, read: str | None, completed: bool
) -> None:
    server.then(as_json({"data": {"sync_status": status, "sync_updated_at": "2026-01-15T10:00:00Z"}}))
    state = client.integration()
    assert state.sync_status == read
    assert (state.completed_at is not None) is completed


@pytest.mark.parametrize("since", [None, "", "never", {}])
def test_a_completed_sync_without_a_time_has_no_end(
    server: ScriptedServer, client: MakiniClient, since: Any
) -> None:
    server.then(as_json({"data": {"sync_status": "done", "sync_updated_at": since}}))
    assert client.integration().completed_at is None


@pytest.mark.parametrize("status", [403, 404])
def test_a_connection_without_the_endpoint_gives_a_state_that_says_nothing(
    server: ScriptedServer, client: MakiniClient, status: int
) -> None:
    server.then(reply(status, "<html>"))
    state = client.integration()
    assert (state.sync_status, state.sync_updated_at, state.completed_at, state.details) == (
        None,
        None,
        None,
        {},
    )


def test_a_refused_token_is_not_passed_over(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(reply(401))
    with pytest.raises(MakiniUnauthorizedError):
        client.integration()


# Connections of an application


def connections(number: int, per_page: int) -> Any:
    def answer(seen: Seen) -> Reply:
        page = int(seen.target.rpartition("page=")[2])
        rows = [{"key": f"c{n}"} for n in range(number)][(page - 1) * per_page : page * per_page]
        return a_list(rows, last_page=-(-number // per_page), total=number, per_page=per_page)

    return answer


def test_connections_are_listed_over_all_pages(server: ScriptedServer, client: MakiniClient) -> None:
    server.otherwise = connections(5, per_page=2)
    assert [row["key"] for row in client.connections()] == ["c0", "c1", "c2", "c3", "c4"]
    assert [seen.target for seen in server.seen] == [
        f"/api/system/connections?page={page}" for page in (1, 2, 3)
    ]


def test_an_application_without_connections_has_none(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(a_list([], last_page=1, total=0))
    assert client.connections() == []


def test_connections_may_have_an_id_and_no_key(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(a_list([{"id": 1, "status": "ok"}, {"id": 2, "status": "ok"}], last_page=1))
    assert [row["id"] for row in client.connections()] == [1, 2]


def test_a_further_page_is_found_by_links_alone(server: ScriptedServer, client: MakiniClient) -> None:
    server.then(as_json({"data": [{"key": "a"}], "links": {"next": "/?page=2"}}), a_list([{"key": "b"}]))
    assert [row["key"] for row in client.connections()] == ["a", "b"]


def test_a_server_that_ignores_the_page_is_an_error(server: ScriptedServer, client: MakiniClient) -> None:
    server.otherwise = a_list([{"key": "a"}, {"key": "b"}], last_page=3)
    with pytest.raises(MakiniPagingError, match="page 2"):
        client.connections()


def always_one_more(rows: bool) -> Any:
    def answer(seen: Seen) -> Reply:
        page = int(seen.target.rpartition("page=")[2])
        return a_list([{"key": f"c{page}"}] if rows else [], last_page=page + 1)

    return answer


def test_empty_pages_that_say_there_is_more_are_an_error(
    server: ScriptedServer, client: MakiniClient
) -> None:
    server.otherwise = always_one_more(rows=False)
    with pytest.raises(MakiniPagingError, match="nothing new"):
        client.connections()


def test_pages_that_do_not_end_are_an_error(
    server: ScriptedServer, client: MakiniClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_CONNECTION_PAGES", 20)
    server.otherwise = always_one_more(rows=True)
    with pytest.raises(MakiniPagingError, match="does not end after 20 pages"):
        client.connections()
    assert len(server.seen) == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"data": {}}',
        b'{"data": ["a"], "meta": {"last_page": 1}}',
        b'{"data": [{"key": "a"}]}',
    ],
)
def test_an_answer_that_may_not_be_the_whole_list_is_an_error(
    server: ScriptedServer, client: MakiniClient, body: bytes
) -> None:
    server.then(reply(200, body))
    with pytest.raises(MakiniProtocolError):
        client.connections()
