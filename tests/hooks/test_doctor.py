"""The connection doctor: what it looks at, what it says of it, and that it changes nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from makini_provider.api.errors import MakiniNotFoundError
from makini_provider.api.token_pair import TokenPair
from makini_provider.hooks.checkup import Counted, Finding, Level, look_at_the_clock, look_at_the_lists
from makini_provider.hooks.doctor import CheckUp, check_up
from makini_provider.hooks.makini import MakiniHook
from makini_provider.sandbox import Behaviour, Sandbox, make_token

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TOKEN = make_token(exp=(NOW + timedelta(days=90, minutes=1)).timestamp())
MOST_REQUESTS = 50

Connect = Callable[..., MakiniHook]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(seed=3, token=TOKEN, records=200, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Iterator[Sandbox]:
    server.store.clock.set(NOW)
    server.store.set_integration(sync_status="done", sync_updated_at="2026-08-01T11:00:00Z")
    server.forget_requests()
    yield server
    server.behave()
    server.token = TOKEN


@pytest.fixture
def check(sandbox: Sandbox, connect: Connect) -> Callable[..., CheckUp]:
    def check(resources: Any = None, **fields: Any) -> CheckUp:
        connect(**{"host": sandbox.url, "password": sandbox.token} | fields)
        found = check_up("makini_default", resources)
        assert len(sandbox.requests) <= MOST_REQUESTS
        assert {request["method"] for request in sandbox.requests} <= {"GET"}
        return found

    return check


def on(found: CheckUp, topic: str) -> Finding:
    """The one finding on a topic."""
    (finding,) = [finding for finding in found.findings if finding.topic == topic]
    return finding


def test_a_connection_that_works_is_looked_at_from_the_name_to_the_records(
    check: Callable[..., CheckUp],
) -> None:
    found = check()
    assert found.works
    topics = list(dict.fromkeys(finding.topic for finding in found.findings))
    assert topics == [
        "connection",
        "name lookup",
        "TLS",
        "clock",
        "token",
        "access",
        "Makini's own sync",
        "records",
        "page size",
        "reading",
        "rate limit",
    ]
    assert "valid for 90 days" in on(found, "token").text
    assert on(found, "Makini's own sync").text == "'done', 1 hour ago (2026-08-01 11:00 UTC)"


def test_records_are_counted(sandbox: Sandbox, check: Callable[..., CheckUp]) -> None:
    found = check(["eam/work-orders", "wms/sites"])
    counts = {one.facts["resource"]: one.facts["records"] for one in found.findings if one.topic == "records"}
    assert counts == {
        "eam/work-orders": len(sandbox.store.records("eam/work-orders")),
        "wms/sites": len(sandbox.store.records("wms/sites")),
    }


def test_a_list_without_permission_is_a_warning_and_a_failure_where_it_was_asked_for(
    sandbox: Sandbox, check: Callable[..., CheckUp]
) -> None:
    sandbox.behave(Behaviour(denied=("eam/assets",)))
    found = check()
    (finding,) = [one for one in found.findings if one.topic == "records" and one.level is not Level.OK]
    assert (finding.level, finding.facts["resource"]) == (Level.WARNING, "eam/assets")
    assert finding.facts["status"] == 403
    assert found.works
    assert not check(["eam/assets"]).works


def test_where_no_list_can_be_read_the_connection_does_not_work() -> None:
    gone = MakiniNotFoundError("there is no such list", status=404)
    found = look_at_the_lists(
        [Counted(name, failure=gone) for name in ("eam/sites", "wms/sites")], all_wanted=False
    )
    assert [one.level for one in found] == [Level.NOTE, Level.NOTE, Level.FAILURE]


def test_a_kind_of_system_that_is_not_there_is_one_line(
    sandbox: Sandbox, check: Callable[..., CheckUp]
) -> None:
    sandbox.behave(Behaviour(denied=("erp/*", "wms/*")))
    found = check()
    notes = [one.text for one in found.findings if one.topic == "records" and one.level is Level.NOTE]
    assert notes == ["erp: none of 5 lists can be read (403)", "wms: none of 4 lists can be read (403)"]
    assert found.works


@pytest.mark.parametrize(
    ("behaviour", "level", "words"),
    [
        (Behaviour(), Level.OK, "honoured, to the microsecond"),
        (Behaviour(filter_precision="second"), Level.OK, "honoured, to the second"),
        (Behaviour(filter_precision="day"), Level.WARNING, "honoured, to the day"),
        (Behaviour(reject_time_of_day=True), Level.WARNING, "honoured, to the day"),
        (Behaviour(ignore_filters=True), Level.WARNING, "ignored the filter on updatedAt"),
        (Behaviour(reject_filter_fields=("updatedAt",)), Level.WARNING, "refused the filter on updatedAt"),
        (Behaviour(ignore_sort=True), Level.WARNING, "ignored the sort by updatedAt"),
    ],
    ids=lambda one: "" if isinstance(one, Behaviour) else str(one),
)
def test_filter_sort_and_precision_are_put_to_the_test(
    sandbox: Sandbox, check: Callable[..., CheckUp], behaviour: Behaviour, level: Level, words: str
) -> None:
    sandbox.behave(behaviour)
    finding = on(check(["eam/work-orders"]), "reading")
    assert words in finding.text
    assert finding.level is level


def test_a_server_that_gives_smaller_pages_is_noticed(
    sandbox: Sandbox, check: Callable[..., CheckUp]
) -> None:
    sandbox.behave(Behaviour(page_size_clamp=40))
    finding = on(check(["eam/work-orders"]), "page size")
    assert finding.facts == {"asked": 100, "got": 40, "resource": "eam/work-orders"}


def test_the_headers_of_a_rate_limit_are_shown(sandbox: Sandbox, check: Callable[..., CheckUp]) -> None:
    sandbox.behave(Behaviour(headers={"X-RateLimit-Limit": "120", "X-RateLimit-Remaining": "93"}))
    assert "X-RateLimit-Remaining: 93".lower() in on(check(["eam/sites"]), "rate limit").text.lower()


def test_a_refusal_is_explained_and_nothing_further_is_asked(
    sandbox: Sandbox, check: Callable[..., CheckUp]
) -> None:
    sandbox.behave(Behaviour(refusal="reauthorization"))
    found = check()
    assert not found.works
    assert found.findings[-1].topic == "access"
    assert "Your customer: connect the system to Makini again" in found.findings[-1].text
    assert found.diagnosis is not None
    assert found.as_json()["diagnosis"]["cause"] == "reauthorization_required"


@pytest.mark.parametrize(
    ("left", "level", "words"),
    [
        (timedelta(days=90, minutes=1), Level.OK, "valid for 90 days"),
        (timedelta(days=3, minutes=1), Level.WARNING, "valid for 3 days"),
        (timedelta(hours=-3), Level.FAILURE, "it has expired, 3 hours ago"),
    ],
    ids=["fine", "soon", "over"],
)
def test_the_dates_of_the_token_are_compared_with_the_servers_clock(
    sandbox: Sandbox, check: Callable[..., CheckUp], left: timedelta, level: Level, words: str
) -> None:
    sandbox.token = make_token(exp=(NOW + left).timestamp())
    finding = on(check(["eam/sites"]), "token")
    assert finding.level is level
    assert words in finding.text


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ({"sync_status": "inprogress"}, Level.OK),
        ({"sync_status": "error"}, Level.WARNING),
        ({"sync_status": "done", "sync_updated_at": "2026-07-29T12:00:00Z"}, Level.WARNING),
    ],
    ids=["in progress", "error", "old"],
)
def test_an_old_or_failed_sync_of_makinis_own_is_a_warning(
    sandbox: Sandbox, check: Callable[..., CheckUp], state: dict[str, str], level: Level
) -> None:
    sandbox.store.set_integration(**state)
    assert on(check(["eam/sites"]), "Makini's own sync").level is level


def test_a_clock_that_is_wrong_is_a_warning_that_says_which_way() -> None:
    ahead = look_at_the_clock(timedelta(seconds=-90))
    assert ahead.level is Level.WARNING
    assert "this machine's clock is 90 s ahead of the server's" in ahead.text
    assert "90 s behind" in look_at_the_clock(timedelta(seconds=90)).text
    assert look_at_the_clock(timedelta(seconds=1)).level is Level.OK


def test_a_clock_that_no_answer_tells_is_not_known(check: Callable[..., CheckUp]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    assert on(check(host=f"http://127.0.0.1:{port}"), "clock").level is Level.UNKNOWN


def test_a_name_that_leads_nowhere_ends_the_check(check: Callable[..., CheckUp]) -> None:
    found = check(host="https://makini.invalid")
    assert (found.works, found.findings[-1].topic) == (False, "name lookup")


def test_a_token_that_can_not_be_sent_is_explained(check: Callable[..., CheckUp]) -> None:
    found = check(password="two words")
    assert not found.works
    assert "white space" in found.findings[-1].text


def test_an_unusable_connection_is_a_finding(check: Callable[..., CheckUp]) -> None:
    found = check(host="http://makini.example.com")
    assert not found.works
    assert "allow_http" in found.findings[-1].text


def test_a_server_that_repeats_the_token_does_not_make_the_doctor_tell_it(
    sandbox: Sandbox, check: Callable[..., CheckUp]
) -> None:
    sandbox.behave(Behaviour(headers={"X-RateLimit-Key": sandbox.token}))
    found = check(["eam/sites"])
    assert sandbox.token not in json.dumps(found.as_json())
    assert "***" in on(found, "rate limit").text


class HeldPair:
    """A token store that holds a pair whose access token has run out."""

    name = "a store of the tests"

    def load(self) -> TokenPair:
        return TokenPair(
            TOKEN, "rt-4711", obtained_at=NOW - timedelta(days=60), expires_at=NOW - timedelta(days=30)
        )

    def save(self, pair: TokenPair) -> None:
        raise AssertionError("the refresh token was spent")


def test_a_refresh_token_is_never_spent(
    sandbox: Sandbox, check: Callable[..., CheckUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MakiniHook, "_open_store", lambda *_: HeldPair())
    found = check(
        login=sandbox.authority.client_id,
        password=sandbox.authority.client_secret,
        extra={"auth": "refresh_token", "token_store": "variable://pair_of_tokens"},
    )
    finding = on(found, "token")
    assert "holds no access token that is good now" in finding.text
    assert finding.level is Level.WARNING
    assert sandbox.requests == []


def test_the_customers_of_an_application_are_shown_and_each_is_checked_by_its_name(
    sandbox: Sandbox, connect: Connect
) -> None:
    connect(host=sandbox.url, login=sandbox.authority.client_id, password=sandbox.authority.client_secret)
    every = check_up("makini_default")
    assert "Of 4 Makini connections 3 can be read" in on(every, "connections").text
    one = check_up("makini_default/09000207611899", ["eam/sites"])
    assert one.works, one.findings
    none = check_up("makini_default/no-such-one")
    assert not none.works
    assert "no-such-one" in none.findings[-1].text
