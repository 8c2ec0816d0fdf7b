"""Which sources a name in MAKINI_CONN_IDS stands for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from makini_provider.api.connections import is_usable
from makini_provider.api.errors import MakiniConfigurationError, MakiniServerError
from makini_provider.operators.customers import sources_of, watched_sources_of
from makini_provider.operators.planning import DagSettings, plan_items
from makini_provider.sandbox import Behaviour, Sandbox
from makini_provider.sync.streams import Source

FIRST, SECOND, THIRD, LAST = "09000207611898", "09000207611899", "09000207611900", "09000207611901"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(records=10) as sandbox:
        application = {
            "conn_type": "makini",
            "host": sandbox.url,
            "login": sandbox.authority.client_id,
            "password": sandbox.authority.client_secret,
        }
        one = {**application, "extra": {"makini_connection": SECOND}}
        token = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
        for name, fields in {"APP": application, "ONE": one, "TOKEN": token, "TEAM/TOKEN": token}.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))
        monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps({**application, "password": "another"}))
        yield sandbox


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("token", [Source("token")]),
        ("team/token", [Source("team/token")]),
        ("one", [Source("one")]),
        ("app", [Source("app", key) for key in (FIRST, SECOND, THIRD)]),
        (f"app/{SECOND}", [Source("app", SECOND)]),
        ("absent", [Source("absent")]),
        ("wrong", [Source("wrong")]),
    ],
)
def test_an_application_stands_for_its_customers_and_any_other_for_itself(
    sandbox: Sandbox, name: str, sources: list[Source]
) -> None:
    assert sources_of(name) == sources


def test_who_can_not_be_read_is_left_out_and_that_is_said(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.tenants.set(SECOND, {"status": "reauthorization_required"})
    with caplog.at_level(logging.INFO):
        assert sources_of("app") == [Source("app", FIRST), Source("app", THIRD)]
    assert (
        f"{SECOND}, Harbour Mill Paper, is left out: its status is 'reauthorization_required'" in caplog.text
    )
    assert f"{THIRD} is Eastgate Cold Stores (connected)" in caplog.text


def test_who_has_lost_access_is_watched_and_who_was_switched_off_is_not(sandbox: Sandbox) -> None:
    sandbox.tenants.set(THIRD, {"status": "disabled"})
    try:
        # Of the last one the sandbox says that it is disconnected.
        assert watched_sources_of("app") == [Source("app", key) for key in (FIRST, SECOND, LAST)]
        assert sources_of("app") == [Source("app", key) for key in (FIRST, SECOND)]
    finally:
        sandbox.tenants.set(THIRD, {"status": "connected"})


def test_a_failure_that_may_pass_fails_the_plan_so_that_it_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(token_faults=("503",), retry_after="300"))
    with pytest.raises(MakiniServerError):
        sources_of("app")


@pytest.mark.parametrize(
    ("status", "usable"),
    [
        *((one, True) for one in ("connected", "active", "ACTIVE", "ok", "online", "synced", "", None, "42")),
        *((one, False) for one in ("disconnected", "Inactive", "REAUTH_REQUIRED", "needs reauthorization")),
        *(
            (one, False)
            for one in ("expired", "revoked", "deleted", "error", "pending", "invalid_credentials")
        ),
    ],
)
def test_a_status_counts_against_a_connection_where_it_says_so(status: str | None, usable: bool) -> None:
    assert is_usable({"status": status}) is usable


def test_each_customer_has_each_resource_once(sandbox: Sandbox) -> None:
    environment = {"MAKINI_CONN_IDS": f"app,token,app/{SECOND}", "MAKINI_RESOURCES": "eam/sites,eam/assets"}
    items = plan_items(DagSettings.from_environment(environment), {})
    assert [(one["makini_conn_id"], one["makini_connection"], one["resource"]) for one in items] == [
        (conn_id, customer, resource)
        for conn_id, customer in [("app", FIRST), ("app", SECOND), ("app", THIRD), ("token", None)]
        for resource in ("eam/sites", "eam/assets")
    ]


def test_more_items_than_airflow_maps_over_is_an_error() -> None:
    settings = DagSettings.from_environment({"MAKINI_RESOURCES": "eam/sites,eam/assets"})
    many = [Source("app", str(number)) for number in range(501)]
    with pytest.raises(MakiniConfigurationError, match="1002 streams are more than the 1000"):
        plan_items(settings, {}, lambda _: many)
    assert len(plan_items(settings, {}, lambda _: many[:500])) == 1000
