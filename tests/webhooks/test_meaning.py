"""What a webhook is taken to say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makini_provider.webhooks.meaning import DataEvent, PlatformEvent, UnintelligibleError, understand


def meaning(**content: Any) -> DataEvent | PlatformEvent:
    return understand(json.dumps(content).encode())


@pytest.mark.parametrize("name", ["assets.updated", "assets.inserted", "Assets.Updated", "assets.created"])
def test_a_data_event_names_keys_of_one_kind(name: str) -> None:
    assert meaning(event=name, body=["A-1", "A-2", "A-1"]) == DataEvent("assets", ("A-1", "A-2"))


@pytest.mark.parametrize("name", ["work-orders", "work_orders", "workOrders", "WorkOrders", "Work Orders"])
def test_kinds_are_known_in_any_spelling(name: str) -> None:
    assert meaning(event=f"{name}.updated", body=["1"]) == DataEvent("work-orders", ("1",))


@pytest.mark.parametrize(
    "content",
    [{"body": "1"}, {"body": [1]}, {"body": [{"key": "1"}]}, {"data": ["1"]}, {"body": {"keys": ["1"]}}],
)
def test_keys_are_found_in_any_likely_place(content: dict[str, Any]) -> None:
    assert meaning(event="sites.updated", **content) == DataEvent("sites", ("1",))


def test_a_key_that_is_none_does_not_spoil_the_others() -> None:
    event = meaning(event="sites.updated", body=["S-1", "..", "", "a/b", None, ["S-2"], True, "S-3"])
    assert isinstance(event, DataEvent)
    assert event.keys == ("S-1", "S-3")
    assert len(event.refused) == 6


@pytest.mark.parametrize(
    ("content", "kind", "connection"),
    [
        ({"event": "sync.completed", "connection_id": "c1"}, "sync completed", "c1"),
        ({"type": "connection.sync_completed", "data": {"connectionId": 7}}, "sync completed", "7"),
        ({"eventType": "SyncCompleted", "connection": {"id": "c1"}}, "sync completed", "c1"),
        ({"event": "sync.failed", "connection_id": "c1"}, "error", "c1"),
        ({"event_type": "connection.requires_authentication"}, "connection", None),
        ({"event": "AuthenticationRequired", "details": {"connection_id": "c1"}}, "connection", "c1"),
        ({"event": "connection.offline", "connection": "c1"}, "connection", "c1"),
        ({"event": "status.changed", "connection_id": "c1"}, "connection", "c1"),
        ({"event": "STATUS_CHANGE"}, "connection", None),
        ({"event": "reauth_required"}, "connection", None),
        ({"event": "invoice.status.changed"}, "unknown", None),
        ({"event": "errors.occurred"}, "error", None),
        ({"event": "system.error", "details": "disk full"}, "error", None),
        ({"event": "invoice.paid"}, "unknown", None),
        ({"event": "sync.started"}, "unknown", None),
    ],
)
def test_platform_events(content: dict[str, Any], kind: str, connection: str | None) -> None:
    event = understand(json.dumps(content).encode())
    assert isinstance(event, PlatformEvent)
    assert (event.kind, event.connection) == (kind, connection)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"event": 7}',
        b'{"event": "assets.updated"}',
        b"\xff\xfe",
        b"{" * 9999,
    ],
)
def test_what_makes_no_sense_is_said_so(payload: bytes) -> None:
    with pytest.raises(UnintelligibleError):
        understand(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["event", "type", "body", "data", "connection"]), json_values))
def test_nothing_else_ever_happens(content: dict[str, Any]) -> None:
    try:
        event = understand(json.dumps(content).encode())
    except UnintelligibleError:
        return
    assert isinstance(event, DataEvent | PlatformEvent)


def test_details_are_for_people() -> None:
    event = meaning(event="system.error", details={"reason": "x" * 9000})
    assert isinstance(event, PlatformEvent)
    assert len(event.details) == 500
