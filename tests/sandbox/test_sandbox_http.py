"""The sandbox as a server: over real HTTP, in process and as a command."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from makini_provider.sandbox import DEFAULT_TOKEN, Behaviour, Sandbox
from makini_provider.sandbox.catalogue import LISTS

ORDERS = "/api/eam/work-orders"


class Client:
    """One HTTP session with the sandbox's token."""

    def __init__(self, sandbox: Sandbox, session: requests.Session) -> None:
        self.sandbox = sandbox
        self.session = session

    def __call__(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.token}"}
        return self.session.request(method, self.sandbox.url + path, headers=headers, timeout=10, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any) -> requests.Response:
        return self("POST", path, json=body)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(token="t", records=80) as sandbox:
        yield sandbox


@pytest.fixture
def client(running: Sandbox) -> Iterator[Client]:
    with requests.Session() as session:
        yield Client(running, session)
    running.token = "t"
    running.behave()
    running.forget_requests()


def test_all_109_lists_answer_with_data_links_and_meta(client: Client) -> None:
    for endpoint in LISTS.values():
        response = client.get(endpoint.path.replace("{key}", "WO-000001"))
        assert response.status_code == 200, endpoint
        assert list(response.json()) == ["data", "links", "meta"]


def test_http_answers_what_the_store_answers(client: Client) -> None:
    params = [
        ("filter[createdAt:gteq]", "2020-01-01"),
        ("sort[updatedAt]", "1"),
        ("per_page", "7"),
        ("page", "2"),
    ]
    status, body = client.sandbox.store.query(ORDERS, params)
    response = client.get(ORDERS, params=params)
    assert (response.status_code, response.json()) == (status, body)


def test_links_can_be_followed(client: Client) -> None:
    first = client.get(ORDERS, params={"per_page": "50", "sort[createdAt]": "0"}).json()
    second = client.get(first["links"]["next"].removeprefix(client.sandbox.url)).json()
    assert second["meta"]["current_page"] == 2
    assert len(second["data"]) == 30


def test_single_records_are_found_or_404(client: Client) -> None:
    record = client.get(f"{ORDERS}/WO-000007").json()
    assert record == {"data": client.sandbox.store.get("eam/work-orders", "WO-000007")}
    missing = client.get(f"{ORDERS}/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_a_key_with_a_slash_is_found_when_encoded(client: Client) -> None:
    client.sandbox.store.insert("eam/assets", {"key": "a/b ü", "name": "odd"})
    assert client.get("/api/eam/assets/a%2Fb%20%C3%BC").json()["data"]["name"] == "odd"


@pytest.mark.parametrize(
    "path", ["/api/eam/nothing", "/api/eam/statuses/work-orders/WO-COMP", "/api/", "/api/v1/x"]
)
def test_unknown_paths_are_404(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic dDp0", "Bearer "])
@pytest.mark.parametrize(
    "path", [ORDERS, "/api/integrations/current", "/_sandbox/requests", "/_sandbox/records"]
)
def test_without_the_token_there_is_nothing(client: Client, header: str | None, path: str) -> None:
    headers = {"Authorization": header} if header else {}
    response = client.session.get(client.sandbox.url + path, headers=headers, timeout=10)
    error = response.json()["error"]
    assert response.status_code == 401
    assert (error["code"], error["type"]) == ("AUTHENTICATION_FAILED", "authentication_error")
    assert error["request_id"] == response.headers["X-Request-Id"]


def test_the_token_can_change_while_the_sandbox_runs(client: Client) -> None:
    client.sandbox.token = "new"
    assert client.get(ORDERS).status_code == 200
    old = client.session.get(client.sandbox.url + ORDERS, headers={"Authorization": "Bearer t"}, timeout=10)
    assert old.status_code == 401


def test_the_default_token_is_a_jwt_that_expires_in_2100() -> None:
    payload = json.loads(base64.urlsafe_b64decode(DEFAULT_TOKEN.split(".")[1] + "=="))
    assert datetime.fromtimestamp(payload["exp"], UTC).year == 2100


def test_every_answer_has_a_request_id_of_its_own(client: Client) -> None:
    ids = [client.get(path).headers["X-Request-Id"] for path in (ORDERS, "/api/eam/nothing", ORDERS)]
    assert len(set(ids)) == 3


def test_the_date_header_follows_the_clock() -> None:
    moment = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    with Sandbox(records=5) as sandbox, requests.Session() as session:
        client = Client(sandbox, session)
        real = client.get(ORDERS).headers["Date"]
        assert abs(parsedate_to_datetime(real) - datetime.now(UTC)) < timedelta(minutes=1)
        sandbox.store.clock.set(moment)
        assert client.get(ORDERS).headers["Date"] == "Tue, 06 May 2031 07:08:09 GMT"
        client.post("/_sandbox/clock", {"advance": 60})
        assert client.get(ORDERS).headers["Date"] == "Tue, 06 May 2031 07:09:09 GMT"
        assert (
            sandbox.store.update("eam/assets", "ASSET-000001")["updatedAt"] == "2031-05-06T07:09:09.000000Z"
        )


def test_post_makes_a_record_with_key_and_times(client: Client) -> None:
    made = client.post(ORDERS, {"title": "Öl prüfen", "key": "mine", "createdAt": "1999-01-01"}).json()[
        "data"
    ]
    assert made["title"] == "Öl prüfen"
    assert made["key"] != "mine"
    assert made["createdAt"] == made["updatedAt"] > "2000"
    assert client.get(f"{ORDERS}/{made['key']}").json()["data"] == made


def test_put_changes_a_record_and_its_time(client: Client) -> None:
    before = client.get(f"{ORDERS}/WO-000003").json()["data"]
    after = client("PUT", f"{ORDERS}/WO-000003", json={"title": "other"}).json()["data"]
    assert after == before | {"title": "other", "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > before["updatedAt"]
    assert client("PUT", f"{ORDERS}/nobody", json={}).status_code == 404


def test_posting_a_material_adds_it_to_the_work_order(client: Client) -> None:
    path = f"{ORDERS}/WO-000005/materials"
    made = client.post(path, {"title": "seal"}).json()["data"]
    assert made["parentKey"] == "WO-000005"
    assert made in client.get(path).json()["data"]
    assert client.post(f"{ORDERS}/nobody/materials", {}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/eam/organizations"),
        ("PUT", "/api/eam/service-requests/SR-000001"),
        ("PUT", ORDERS),
        ("DELETE", f"{ORDERS}/WO-000001"),
    ],
)
def test_what_the_specification_does_not_allow_is_405(client: Client, method: str, path: str) -> None:
    assert client(method, path, json={}).status_code == 405


@pytest.mark.parametrize("body", [b"", b"[1]", b'"text"', b"{", b"\xff"])
def test_a_body_that_is_no_json_object_is_400(client: Client, body: bytes) -> None:
    response = client("POST", ORDERS, data=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_BODY")


def test_the_integration_tells_the_state_of_the_sync(client: Client) -> None:
    data = client.get("/api/integrations/current").json()["data"]
    assert set(data) == {
        "id", "company_name", "email", "provider", "updated_at", "sync_status", "sync_updated_at",
    }  # fmt: skip
    client.post("/_sandbox/integration", {"sync_status": "inprogress", "sync_updated_at": None})
    data = client.get("/api/integrations/current").json()["data"]
    assert (data["sync_status"], data["sync_updated_at"]) == ("inprogress", None)


def test_changes_are_summed_up_by_list(client: Client) -> None:
    order = {"updates": 4, "inserts": 2, "deletes": 1, "seed": 7, "resources": ["eam/assets"]}
    data = client.post("/_sandbox/changes", order).json()["data"]
    assert list(data) == ["eam/assets"]
    counts = {kind: data["eam/assets"][kind] for kind in ("updated", "inserted", "deleted", "hard_deleted")}
    assert counts == {"updated": 4, "inserted": 2, "deleted": 1, "hard_deleted": 0}
    assert len(data["eam/assets"]["keys"]["updated"]) == 4
    assert client.get("/api/integrations/current").json()["data"]["sync_status"] == "done"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_sandbox/changes", {"updates": "many"}),
        ("/_sandbox/changes", {"nonsense": 1}),
        ("/_sandbox/changes", {"updates": 1, "resources": ["eam/nothing"]}),
        ("/_sandbox/changes", [1]),
        ("/_sandbox/behaviour", {"nonsense": True}),
        ("/_sandbox/clock", {"now": "noon"}),
    ],
)
def test_steering_with_nonsense_is_400_and_says_why(client: Client, path: str, body: Any) -> None:
    response = client.post(path, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_raw_records_are_the_truth_whatever_the_behaviour(client: Client) -> None:
    client.sandbox.behave(Behaviour(faults=("500",), fault_rate=1.0))
    response = client.get("/_sandbox/records", params={"resource": "eam/work-orders"})
    assert response.json()["data"] == client.sandbox.store.records("eam/work-orders")
    assert client.get("/_sandbox/records", params={"resource": "x"}).status_code == 400


def test_requests_are_remembered_in_order_without_the_token(client: Client) -> None:
    client.get(ORDERS, params={"page": "2"})
    client.post("/api/eam/assets", {})
    seen = client.get("/_sandbox/requests").json()["data"]
    assert [(one["method"], one["path"], one["query"]) for one in seen] == [
        ("GET", ORDERS, "page=2"),
        ("POST", "/api/eam/assets", ""),
    ]
    assert "authorization" not in seen[0]["headers"]
    assert client("DELETE", "/_sandbox/requests").json()["data"] == seen
    assert client.get("/_sandbox/requests").json()["data"] == []


def test_the_front_page_says_what_it_is(client: Client) -> None:
    response = client.session.get(client.sandbox.url, timeout=10)
    assert response.headers["Content-Type"].startswith("text/plain")
    assert "sandbox" in response.text


# Faults


@pytest.mark.parametrize(
    ("fault", "code"),
    [("500", "INTERNAL_ERROR"), ("503", "SERVICE_UNAVAILABLE"), ("429", "RATE_LIMIT_EXCEEDED")],
)
def test_faults_with_a_status_carry_code_and_retry_after(client: Client, fault: Any, code: str) -> None:
    client.sandbox.behave(Behaviour(faults=(fault,), fault_rate=1.0, retry_after="7"))
    response = client.get(ORDERS)
    assert (response.status_code, response.json()["error"]["code"]) == (int(fault), code)
    assert response.headers.get("Retry-After") == (None if fault == "500" else "7")


def test_a_cut_connection_ends_in_the_middle(client: Client) -> None:
    client.sandbox.behave(Behaviour(fault_sequence=("cut",)))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.get(ORDERS)
    assert client.get(ORDERS).status_code == 200


def test_bodies_that_are_no_list_answer(client: Client) -> None:
    client.sandbox.behave(Behaviour(fault_sequence=("truncated_json", "html_200", "empty_body", "", "500")))
    truncated, html, empty, good, broken = (client.get(ORDERS) for _ in range(5))
    assert [one.status_code for one in (truncated, html, empty, good, broken)] == [200, 200, 200, 200, 500]
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        truncated.json()
    assert html.headers["Content-Type"].startswith("text/html")
    assert empty.content == b""
    assert good.json()["data"]
    assert all(one.headers["X-Request-Id"] for one in (truncated, html, empty))


def test_the_log_of_requests_tells_the_fault_that_each_met(client: Client) -> None:
    client.sandbox.behave(Behaviour(fault_sequence=("503", "", "html_200")))
    for _ in range(3):
        client.get(ORDERS)
    assert [request["fault"] for request in client.sandbox.requests] == ["503", "", "html_200"]


def test_faults_follow_their_seed(client: Client) -> None:
    def statuses() -> list[int]:
        client.sandbox.behave(Behaviour(faults=("500", "429"), fault_rate=0.5, seed=11))
        return [client.get(ORDERS).status_code for _ in range(20)]

    first = statuses()
    assert set(first) == {200, 429, 500}
    assert statuses() == first


def test_a_slow_answer_is_complete(client: Client) -> None:
    client.sandbox.behave(Behaviour(fault_sequence=("slow",), slow_seconds=0.2))
    started = time.perf_counter()
    assert client.get(ORDERS).json()["data"]
    assert time.perf_counter() - started >= 0.2


def test_latency_delays_every_answer(client: Client) -> None:
    client.sandbox.behave(Behaviour(latency=0.2))
    started = time.perf_counter()
    client.get(ORDERS)
    assert time.perf_counter() - started >= 0.2


def test_errors_can_be_spelt_in_four_ways(client: Client) -> None:
    client.sandbox.behave(Behaviour(error_spelling="flat"))
    flat = client.get("/api/eam/nothing")
    assert flat.json()["code"] == "NOT_FOUND"
    assert flat.json()["requestId"] == flat.headers["X-Request-Id"]
    client.sandbox.behave(Behaviour(error_spelling="html"))
    assert client.get("/api/eam/nothing").text.startswith("<html>")
    client.sandbox.behave(Behaviour(error_spelling="empty"))
    empty = client.get("/api/eam/nothing")
    assert (empty.status_code, empty.content) == (404, b"")


def test_behaviour_can_be_set_over_http_and_ends_with_an_empty_one(client: Client) -> None:
    client.post("/_sandbox/behaviour", {"sync_state_missing": True, "sync_states": ["inprogress"]})
    assert client.get("/api/integrations/current").status_code == 404
    client.post("/_sandbox/behaviour", {})
    assert client.get("/api/integrations/current").status_code == 200


def test_successive_requests_walk_through_the_sync_states(client: Client) -> None:
    done = {"sync_status": "done", "sync_updated_at": "2026-08-01T00:00:00.000000Z"}
    client.sandbox.behave(Behaviour(sync_states=("inprogress", "error", done)))
    states = [client.get("/api/integrations/current").json()["data"]["sync_status"] for _ in range(4)]
    assert states == ["inprogress", "error", "done", "done"]


# Threads, start, end


def test_changes_from_other_threads_never_break_an_answer(client: Client) -> None:
    store, stopped, failures = client.sandbox.store, threading.Event(), []

    def mutate() -> None:
        try:
            while not stopped.is_set():
                store.change(updates=3, inserts=1, hard_deletes=1, resources=["eam/work-orders"])
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=mutate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        body = client.get(ORDERS, params={"sort[updatedAt]": "0", "per_page": "500"}).json()
        assert len(body["data"]) == min(body["meta"]["total"], 500)
    stopped.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_starting_takes_less_than_a_second() -> None:
    started = time.perf_counter()
    with Sandbox(records=300) as sandbox, requests.Session() as session:
        Client(sandbox, session).get(ORDERS).raise_for_status()
        assert time.perf_counter() - started < 1


def test_after_its_end_the_port_is_free() -> None:
    with Sandbox(records=1) as sandbox:
        port = int(sandbox.url.rsplit(":", 1)[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_a_host_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(host=host)


# The command


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "makini_provider.sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_url_and_token_serves_and_ends_cleanly(ending: signal.Signals) -> None:
    with command(
        "--port", "0", "--token", "secret", "--records", "20", "--now", "2026-08-01T12:00:00Z"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        url = re.fullmatch(r"Makini sandbox: (http://127\.0\.0\.1:\d+)\n", first)
        assert url
        assert second == "Token: secret\n"
        response = requests.get(url[1] + ORDERS, headers={"Authorization": "Bearer secret"}, timeout=10)
        assert response.json()["meta"]["total"] == 20
        assert response.headers["Date"].startswith("Sat, 01 Aug 2026 12:00")
        process.send_signal(ending)
        rest, errors = process.stdout.read(), process.stderr.read()
        assert process.wait(10) == 0
    assert errors == ""
    exported = re.search(r"export AIRFLOW_CONN_MAKINI_DEFAULT='(.*)'", rest)
    assert exported
    assert json.loads(exported[1]) == {"conn_type": "makini", "host": url[1], "password": "secret"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--records", "-1"], "--records"),
        (["--now", "noon"], "--now"),
        (["--max-per-page", "0"], "--max-per-page"),
    ],
)
def test_the_command_refuses_nonsense_and_names_it(arguments: list[str], said: str) -> None:
    with command(*arguments) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said in errors


def test_a_port_in_use_is_said_with_the_way_out(running: Sandbox) -> None:
    with command("--port", running.url.rsplit(":", 1)[1]) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "--port 0" in errors
