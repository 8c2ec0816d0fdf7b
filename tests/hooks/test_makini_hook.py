"""What the hook does with a connection, and what it never does."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from airflow.providers.http.hooks.http import HttpHook
from recording_server import RecordingServer, Reply, records
from structlog.testing import capture_logs

from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniForbiddenError,
    MakiniPagingError,
    MakiniProtocolError,
    MakiniUnauthorizedError,
    UnknownResourceError,
)
from makini_provider.api.resources import get_resource
from makini_provider.hooks.credentials import ApiToken
from makini_provider.hooks.http_face import HttpFace
from makini_provider.hooks.makini import MakiniHook

TOKEN = "tok-4711-of-the-tests"
JULY = datetime(2026, 7, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)

Connect = Callable[..., MakiniHook]


def site(key: str, updated_at: str | None = None) -> dict[str, Any]:
    return {"key": key, "updatedAt": updated_at} if updated_at else {"key": key}


# An HttpHook by type, and nothing of it by inheritance.


def test_it_is_an_http_hook() -> None:
    assert issubclass(MakiniHook, HttpHook)


@pytest.mark.parametrize("name", [name for name in vars(HttpHook) if not name.startswith("_")])
def test_every_public_name_of_http_hook_is_its_own(name: str) -> None:
    assert name in {**vars(HttpFace), **vars(MakiniHook)}


def test_making_a_hook_looks_nothing_up_and_sends_nothing() -> None:
    MakiniHook("there_is_no_such_connection")


def test_it_takes_what_http_operator_gives_to_hooks() -> None:
    hook = MakiniHook(
        makini_conn_id="acme",
        method="post",
        auth_type=None,
        tcp_keep_alive=True,
        tcp_keep_alive_idle=120,
        tcp_keep_alive_count=20,
        tcp_keep_alive_interval=30,
    )
    assert hook.method == "POST"
    assert hook.http_conn_id == "acme"


def test_an_argument_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="http_conn_id"):
        MakiniHook(http_conn_id="acme")
    with pytest.raises(MakiniConfigurationError, match="auth_type"):
        MakiniHook(auth_type=requests.auth.HTTPBasicAuth)


def test_an_empty_makini_connection_is_none_as_templates_render_it() -> None:
    MakiniHook(makini_connection="")


def test_the_http_operator_works_with_it(
    connect: Connect, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.sdk import Connection

    def get_hook(connection: Connection, *, hook_params: dict[str, Any]) -> MakiniHook:
        return MakiniHook(makini_conn_id=connection.conn_id, **hook_params)

    # What Airflow does where the provider is installed.
    monkeypatch.setattr(Connection, "get_hook", get_hook)
    connect(host=server.url)
    server.replies = [records(site("a"))]
    operator = HttpOperator(
        task_id="t", http_conn_id="makini_default", endpoint="api/eam/sites", method="GET"
    )
    assert '"key": "a"' in operator.execute({})


# Secrets.


def test_nothing_of_extra_becomes_a_header(connect: Connect, server: RecordingServer) -> None:
    extra = {"client_secret": "s3cr3t-one", "X-Api-Key": "s3cr3t-two", "page_size": 7, "stream": True}
    with connect(host=server.url, extra=extra) as hook:
        list(hook.list_records("eam/sites"))
        hook.run("api/eam/sites")
        hook.get_conn().get(f"{server.url}/api/eam/sites")
    assert len(server.received) == 3
    for received in server.received:
        assert set(received.headers) == {
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Connection",
            "Authorization",
        }
        assert received.headers["Authorization"] == f"Bearer {TOKEN}"


def test_an_unknown_key_of_extra_is_logged_once_and_without_its_value(
    connect: Connect, server: RecordingServer
) -> None:
    with capture_logs() as logs, connect(host=server.url, extra={"pagesize": "s3cr3t-one"}) as hook:
        list(hook.list_records("eam/sites"))
        hook.close()
        list(hook.list_records("eam/sites"))
    assert str(logs).count("'pagesize'") == 1
    assert "s3cr3t-one" not in str(logs)


def test_repr_shows_the_connections_name_only(hook: MakiniHook) -> None:
    assert hook.client
    assert repr(hook) == "<MakiniHook 'makini_default'>"


def test_a_pickled_hook_holds_no_secret_and_works_where_it_is_unpickled(
    hook: MakiniHook, server: RecordingServer
) -> None:
    list(hook.list_records("eam/sites"))
    pickled = pickle.dumps(hook)
    assert TOKEN.encode() not in pickled
    with pickle.loads(pickled) as copy:
        assert list(copy.list_records("eam/sites")) == []


def test_a_token_that_the_server_repeats_is_not_raised(
    hook: MakiniHook, server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies = [Reply({"message": f"token {TOKEN} is unknown"}, status=401)]
    with caplog.at_level(logging.DEBUG), pytest.raises(MakiniUnauthorizedError) as caught:
        hook.get_integration()
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value)
    assert TOKEN not in caplog.text


def test_the_token_is_masked_also_as_it_stands_in_a_url(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[Any] = []
    monkeypatch.setattr("makini_provider.hooks.makini.mask_secret", masked.append)
    assert connect(password="a/b+c==").client
    assert masked == ["a/b+c==", "a%2Fb%2Bc%3D%3D"]


def test_a_netrc_does_not_replace_the_token(
    hook: MakiniHook, server: RecordingServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    hook.run("api/eam/sites")
    assert server.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


# The token stays at home.


def test_a_redirect_is_not_followed(hook: MakiniHook, server: RecordingServer) -> None:
    with RecordingServer() as elsewhere:
        server.replies = [Reply(status=302, headers={"Location": f"{elsewhere.url}/api/eam/sites"})]
        with pytest.raises(MakiniProtocolError, match="redirect"):
            list(hook.list_records("eam/sites"))
        with pytest.raises(MakiniProtocolError, match="redirect"):
            hook.run("api/eam/sites")
        assert hook.get_conn().get(f"{server.url}/api/eam/sites").status_code == 302
        assert elsewhere.received == []


def test_the_session_sends_nothing_to_another_host(hook: MakiniHook) -> None:
    with RecordingServer() as elsewhere:
        with pytest.raises(MakiniConfigurationError, match="refused to send the token"):
            hook.get_conn().get(f"{elsewhere.url}/api/eam/sites")
        assert elsewhere.received == []


@pytest.mark.parametrize(
    "endpoint",
    ["https://evil.example/x", "//evil.example/x", "/api/../../x", "/api\\x", "/a b", "/a#b", "/%2e%2e/x"],
)
def test_an_endpoint_that_leads_elsewhere_is_refused(
    hook: MakiniHook, server: RecordingServer, endpoint: str
) -> None:
    with pytest.raises(MakiniConfigurationError, match="is not a plain path"):
        hook.run(endpoint)
    with pytest.raises(MakiniConfigurationError, match="is not a plain path"):
        hook.url_from_endpoint(endpoint)
    assert server.received == []


def test_an_endpoint_that_looks_like_a_host_is_a_path(hook: MakiniHook, server: RecordingServer) -> None:
    hook.run("@evil.example/x")
    assert server.received[0].path == "/@evil.example/x"


def test_plain_http_to_another_machine_is_refused_before_anything_is_sent(connect: Connect) -> None:
    with pytest.raises(MakiniConfigurationError, match="allow_http"):
        connect(host="http://api.example.com").get_integration()


# The connection.


def test_the_connection_is_looked_up_once(
    hook: MakiniHook, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[str] = []
    look_up = MakiniHook.get_connection

    def counted(conn_id: str) -> Any:
        lookups.append(conn_id)
        return look_up(conn_id)

    monkeypatch.setattr(MakiniHook, "get_connection", staticmethod(counted))
    list(hook.list_records("eam/sites"))
    hook.count_records("eam/sites")
    hook.run("api/eam/sites")
    hook.url_from_endpoint("x")
    hook.test_connection()
    hook.close()
    list(hook.list_records("eam/sites"))
    assert lookups == ["makini_default"]


def test_one_session_serves_all(hook: MakiniHook) -> None:
    assert hook.get_conn() is hook.get_conn()
    assert hook.get_conn() is hook.client.transport.session


def test_a_connection_that_does_not_exist_says_where_to_add_it() -> None:
    with pytest.raises(MakiniConfigurationError, match=r"'nowhere' \(makini_conn_id\).*AIRFLOW_CONN_NOWHERE"):
        assert MakiniHook("nowhere").client


def test_a_connection_of_another_type_is_not_used_as_a_token(connect: Connect) -> None:
    with pytest.raises(MakiniConfigurationError, match="of type 'postgres'"):
        assert connect(conn_type="postgres", host="db.example.com").client


def test_a_connection_without_a_type_is_taken(connect: Connect) -> None:
    assert connect(conn_type=None).base_url == "https://api.makini.io"


def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_MAKINI_DEFAULT",
        "makini://:to%2Fken@api.example.com:8443/?page_size=50&timeout=5&verify=false",
    )
    settings = MakiniHook().settings
    assert settings.base_url == "https://api.example.com:8443"
    assert settings.credentials == ApiToken("to/ken")
    assert (settings.page_size, settings.transport.timeout, settings.transport.verify) == (50, 5.0, False)


def test_extra_that_is_no_json_object_is_an_error(connect: Connect) -> None:
    with pytest.raises(MakiniConfigurationError, match="extra must be a JSON object, and is no JSON"):
        assert connect(extra="{page_size: 7").client
    with pytest.raises(MakiniConfigurationError, match="extra must be a JSON object, and is a list"):
        assert connect(extra="[7]").client


def test_the_connections_settings_reach_the_client(connect: Connect) -> None:
    client = connect(extra={"page_size": 7, "max_parallel_requests": 3}).client
    assert (client.page_size, client.max_parallel_requests) == (7, 3)


# run(), as HttpHook has it.


def test_run_gives_a_response(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [Reply({"data": {"name": "Zürich"}}, headers={"X-Request-Id": "r-1"})]
    response = hook.run("api/eam/sites/7")
    assert isinstance(response, requests.Response)
    assert response.ok
    assert response.json() == {"data": {"name": "Zürich"}}
    assert "data" in response.text
    assert response.headers["x-request-id"] == "r-1"
    assert response.url == f"{server.url}/api/eam/sites/7"


def test_run_sends_data_of_a_get_as_query(hook: MakiniHook, server: RecordingServer) -> None:
    hook.run("/api/eam/sites?a=1", {"page": 2, "none": None}, {"X-Trace": 7}, params=[("b", "3")])
    (received,) = server.received
    assert (received.method, received.path) == ("GET", "/api/eam/sites")
    assert received.query == {"a": "1", "page": "2", "b": "3"}
    assert received.headers["X-Trace"] == "7"


@pytest.mark.parametrize("data", [{"name": "x"}, '{"name": "x"}', b'{"name": "x"}'])
def test_run_sends_data_of_a_post_as_json(connect: Connect, server: RecordingServer, data: Any) -> None:
    server.replies = [Reply({"data": {}}, status=201)]
    connect(host=server.url)
    with MakiniHook(method="POST") as hook:
        assert hook.run("api/eam/sites", data).status_code == 201
    (received,) = server.received
    assert received.method == "POST"
    assert received.headers["Content-Type"] == "application/json"
    assert received.body == b'{"name": "x"}'


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": "page=2"},
        {"data": 7},
        {"files": {"a": "b"}},
        {"auth": ("a", "b")},
        {"extra_options": {"verify": False}},
        {"extra_options": {"timeout": 1}},
        {"extra_options": {"check_response": False}},
        {"extra_options": {"allow_redirects": True}},
    ],
)
def test_run_refuses_what_it_would_not_do(
    hook: MakiniHook, server: RecordingServer, arguments: dict[str, Any]
) -> None:
    with pytest.raises(MakiniConfigurationError) as caught:
        hook.run("api/eam/sites", **arguments)
    assert caught.value.remedy
    assert server.received == []


def test_run_raises_a_typed_error_with_status_code_and_request_id(
    hook: MakiniHook, server: RecordingServer
) -> None:
    server.replies = [Reply({"error": {"code": "NOPE", "request_id": "r-9"}}, status=403)]
    with pytest.raises(MakiniForbiddenError) as caught:
        hook.run("api/eam/sites")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (403, "NOPE", "r-9")


def test_run_is_retried_like_every_request(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [Reply(status=503, headers={"Retry-After": "0"}), records()]
    assert hook.run("api/eam/sites").ok
    assert len(server.received) == 2


def test_run_with_advanced_retry_repeats_run(hook: MakiniHook, server: RecordingServer) -> None:
    import tenacity

    server.replies = [Reply(status=403), records()]
    arguments = {"stop": tenacity.stop_after_attempt(2), "wait": tenacity.wait_none()}
    assert hook.run_with_advanced_retry(arguments, "api/eam/sites").ok


def test_run_and_check_says_what_to_use(hook: MakiniHook) -> None:
    with pytest.raises(MakiniConfigurationError, match=r"Use run\(endpoint"):
        hook.run_and_check(None, None, {})


def test_get_conn_takes_no_headers(hook: MakiniHook) -> None:
    with pytest.raises(MakiniConfigurationError, match="get_conn"):
        hook.get_conn(headers={"X-Trace": "7"})


def test_check_response_raises_the_typed_error(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [records(), Reply({"message": f"no {TOKEN}"}, status=401)]
    hook.check_response(hook.get_conn().get(f"{server.url}/api/eam/sites"))
    with pytest.raises(MakiniUnauthorizedError) as caught:
        hook.check_response(hook.get_conn().get(f"{server.url}/api/eam/sites"))
    assert TOKEN not in str(caught.value)


# Records.


def test_list_records_reads_all_pages(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [
        records(site("a"), site("b"), page=1, last_page=2, total=3),
        records(site("c"), page=2, last_page=2, total=3),
    ]
    assert [record["key"] for record in hook.list_records("eam/sites")] == ["a", "b", "c"]
    assert [received.query["page"] for received in server.received] == ["1", "2"]


def test_a_next_page_on_another_host_is_asked_for_at_the_connections_own(
    hook: MakiniHook, server: RecordingServer
) -> None:
    with RecordingServer() as elsewhere:
        first = records(site("a"), page=1, last_page=2, total=2)
        first.body["links"]["next"] = f"{elsewhere.url}/api/eam/sites?page=2"
        server.replies = [first, records(site("b"), page=2, last_page=2, total=2)]
        assert [record["key"] for record in hook.list_records("eam/sites")] == ["a", "b"]
        assert elsewhere.received == []
    assert [received.query["page"] for received in server.received] == ["1", "2"]


def test_list_records_asks_only_as_records_are_taken(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [records(site("a"), page=1, last_page=2, total=2)]
    found = hook.list_records("eam/sites")
    assert server.received == []
    next(found)
    assert len(server.received) == 1


def test_list_records_of_a_window_filters_here_too(hook: MakiniHook, server: RecordingServer) -> None:
    rows = [
        site("before", "2026-06-30T23:59:59Z"),
        site("first", "2026-07-01T00:00:00Z"),
        site("last", "2026-07-31T23:59:59.999Z"),
        site("after", "2026-08-01T00:00:00Z"),
        site("never"),
    ]
    server.replies = [records(*rows)]
    found = hook.list_records("eam/assets", updated_since=JULY, updated_before=AUGUST, filters={"name": "x"})
    assert [record["key"] for record in found] == ["first", "last"]
    assert server.received[0].query == {
        "filter[name]": "x",
        "filter[updatedAt:gteq]": "2026-07-01T00:00:00Z",
        "filterMatch": "all",
        "sort[updatedAt]": "0",
        "per_page": "100",
        "page": "1",
    }


def test_a_resource_may_be_given_as_itself(hook: MakiniHook) -> None:
    assert list(hook.list_records(get_resource("eam/sites"))) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"updated_since": datetime(2026, 7, 1)}, "updated_since must be a time with its time zone"),  # noqa: DTZ001
        ({"updated_before": "2026-07-01"}, "updated_before must be a time with its time zone"),
        ({"updated_since": AUGUST, "updated_before": JULY}, "must lie before updated_before"),
        ({"updated_since": JULY, "updated_before": JULY}, "must lie before updated_before"),
        ({"updated_since": JULY, "filters": {"updatedAt:gteq": "x"}}, "updatedAt:gteq"),
        ({"filters": {"name": ["a", "b"]}}, "filters"),
        ({"filters": {"createdAt": datetime(2026, 7, 1)}}, "filters"),  # noqa: DTZ001
    ],
)
def test_list_records_refuses_bad_arguments_at_the_call(
    hook: MakiniHook, server: RecordingServer, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(MakiniConfigurationError, match=message):
        hook.list_records("eam/assets", **arguments)
    assert server.received == []


def test_a_list_without_a_time_of_change_has_no_window(hook: MakiniHook) -> None:
    with pytest.raises(MakiniConfigurationError, match="eam/uom"):
        hook.list_records("eam/uom", updated_since=JULY)


def test_an_unknown_resource_is_refused_with_the_nearest_name(hook: MakiniHook) -> None:
    with pytest.raises(UnknownResourceError, match="eam/work-orders"):
        hook.list_records("eam/workorders")


def test_a_server_that_ignores_the_page_is_an_error(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [records(site("a"), page=1, last_page=9, total=9)]
    with pytest.raises(MakiniPagingError):
        list(hook.list_records("eam/sites"))
    assert len(server.received) < 9


def test_an_empty_page_that_says_there_is_more_is_an_error(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [records(page=1, last_page=9, total=9)]
    with pytest.raises(MakiniPagingError):
        list(hook.list_records("eam/sites"))


def test_filters_are_written_as_the_api_takes_them(hook: MakiniHook, server: RecordingServer) -> None:
    hook.count_records("eam/assets", {"a": True, "b": 7, "c": JULY})
    query = server.received[0].query
    assert (query["filter[a]"], query["filter[b]"], query["filter[c]"]) == (
        "true",
        "7",
        "2026-07-01T00:00:00Z",
    )


def test_count_records_is_the_total(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [records(site("a"), total=42, last_page=42)]
    assert hook.count_records("eam/sites") == 42


def test_a_record_is_read_created_and_changed(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [Reply({"data": {"key": "a/b"}})]
    assert hook.get_record("eam/sites", "a/b") == {"key": "a/b"}
    assert hook.create_record("eam/sites", {"name": "x"}) == {"key": "a/b"}
    assert hook.update_record("eam/sites", "a/b", {"name": "y"}) == {"key": "a/b"}
    assert [(one.method, one.path, one.body) for one in server.received] == [
        ("GET", "/api/eam/sites/a%2Fb", b""),
        ("POST", "/api/eam/sites", b'{"name": "x"}'),
        ("PUT", "/api/eam/sites/a%2Fb", b'{"name": "y"}'),
    ]


def test_the_integration_and_the_connections_are_dicts(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [Reply({"data": {"company_name": "Acme", "sync_status": "done"}}), records(site("c-1"))]
    assert hook.get_integration() == {"company_name": "Acme", "sync_status": "done"}
    assert hook.list_connections() == [{"key": "c-1"}]


# The test button.

DONE = Reply(
    {
        "data": {
            "company_name": "Acme",
            "provider": "SAP",
            "sync_status": "done",
            "sync_updated_at": "2026-08-01T10:05:00Z",
        }
    }
)


def test_a_good_connection_says_whose_data_it_is(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [DONE, records(site("a"), total=12, last_page=12)]
    assert hook.test_connection() == (
        True,
        "Acme, SAP, sync status 'done' since 2026-08-01 10:05 UTC. eam/sites has 12 records.",
    )


def test_a_connection_of_another_kind_of_system_is_good_too(
    hook: MakiniHook, server: RecordingServer
) -> None:
    server.replies = [DONE, Reply(status=404), records(site("a"))]
    works, message = hook.test_connection()
    assert works
    assert "erp/sites has 1 record." in message


def test_a_connection_that_may_read_nothing_is_not_good(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [DONE, Reply(status=403)]
    works, message = hook.test_connection()
    assert not works
    assert "permissions" in message


def test_a_host_without_the_api_is_not_called_a_matter_of_permissions(
    hook: MakiniHook, server: RecordingServer
) -> None:
    server.replies = [Reply(status=404)]
    works, message = hook.test_connection()
    assert not works
    assert "Check the connection's host" in message
    assert "accepted" not in message


def test_a_connection_whose_system_must_be_connected_again_is_not_good(
    hook: MakiniHook, server: RecordingServer
) -> None:
    server.replies = [Reply({"data": {"company_name": "Acme", "sync_status": "fail"}})]
    works, message = hook.test_connection()
    assert not works
    assert "connected to Makini again" in message


def test_a_bad_token_is_explained_and_not_shown(hook: MakiniHook, server: RecordingServer) -> None:
    server.replies = [Reply({"message": f"{TOKEN}?"}, status=401, headers={"X-Request-Id": "r-1"})]
    works, message = hook.test_connection()
    assert not works
    assert "401" in message
    assert "r-1" in message
    assert TOKEN not in message


def test_a_bad_setting_is_an_answer_of_the_button_and_no_exception(connect: Connect) -> None:
    works, message = connect(password="").test_connection()
    assert not works
    assert "there is no API token" in message


def test_the_button_does_not_wait_long_for_a_server_that_is_down(connect: Connect) -> None:
    works, message = connect(host="http://127.0.0.1:1").test_connection()
    assert not works
    assert "no connection" in message
