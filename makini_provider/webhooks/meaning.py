"""What a webhook says: pure, and liberal, since nobody documents more than two shapes.

Data events name keys of one kind of record (the vendor's documentation)::

    {"event": "assets.updated", "body": ["A-1", "A-2"]}

Platform events (the vendor's FAQ) have a type, a timestamp, a connection id and details; how their keys are
spelt is not stated anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

import msgspec

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.resources import catalogue
from makini_provider.sync.single import check_key

PlatformKind = Literal["sync completed", "connection", "error", "unknown"]

_TYPE_NAMES: Final = ("event", "type", "event_type", "eventType", "name", "topic")
_BODY_NAMES: Final = ("body", "data", "keys", "payload", "details")
_CONNECTION_NAMES: Final = ("connection_id", "connectionId", "connection", "connection_key", "connectionKey")
_CHANGES: Final = frozenset({"inserted", "updated", "created", "changed", "deleted", "upserted"})
_ABOUT_CONNECTIONS: Final = frozenset(
    {"connection", "auth", "authentication", "authorization", "credentials", "online", "offline"}
    | {"reauth", "reauthentication", "reauthorization"}
)
_STATUS_CHANGE: Final = frozenset({"status", "change", "changed", "update", "updated"})
"""An event of these words alone is about the connection; with others it may be about anything."""
_LONGEST_DETAILS: Final = 500


@dataclass(frozen=True, slots=True)
class DataEvent:
    """Records that were inserted or updated.

    :param resource: the resource's name without its domain, such as ``work-orders``: the payload names none
    :param keys: of the records, each once
    :param refused: why each of the others can't be a key
    """

    resource: str
    keys: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlatformEvent:
    """Something that happened at Makini, or to a connection.

    :param kind: what it is about
    :param type: as it is called there
    :param connection: the Makini connection's id, where the event names one
    :param details: for people, cut to a readable length
    """

    kind: PlatformKind
    type: str
    connection: str | None = None
    details: str = field(default="", repr=False)


class UnintelligibleError(MakiniConfigurationError):
    """A webhook that is authentic and makes no sense."""


def understand(payload: bytes) -> DataEvent | PlatformEvent:
    """Read a webhook's body.

    :raises UnintelligibleError: it is no JSON object, names no event, or names no keys where it should
    """
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnintelligibleError(f"the payload is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UnintelligibleError(f"the payload should be an object, not {type(content).__name__}.")
    name = event_type(content)
    if name is None:
        raise UnintelligibleError(f"the payload names no event: none of {', '.join(_TYPE_NAMES)} is a text.")
    subject, _, change = name.strip().rpartition(".")
    resource = _kebab(subject)
    if change.lower() in _CHANGES and resource in _record_kinds():
        return _data_event(resource, name, content)
    return PlatformEvent(_kind(name), name, _connection(content), _details(content))


def event_type(content: Mapping[str, Any]) -> str | None:
    """What a payload calls its event."""
    found = (content.get(name) for name in _TYPE_NAMES)
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def _data_event(resource: str, name: str, content: Mapping[str, Any]) -> DataEvent:
    body = next((content[name] for name in _BODY_NAMES if content.get(name) is not None), None)
    keys: dict[str, None] = {}
    refused: list[str] = []
    for item in _items(body):
        key = item.get("key", item.get("id")) if isinstance(item, dict) else item
        if isinstance(key, bool) or not isinstance(key, str | int):
            refused.append(f"{str(key)[:80]!r} is no key.")
            continue
        try:
            check_key(str(key))
        except MakiniConfigurationError as error:
            refused.append(error.message)
        else:
            keys[str(key)] = None
    if not keys and not refused:
        raise UnintelligibleError(f"the event {name!r} names no keys.")
    return DataEvent(resource, tuple(keys), tuple(refused))


def _items(body: Any) -> Iterator[Any]:
    if isinstance(body, list):
        yield from body
    elif isinstance(body, dict) and isinstance(body.get("keys"), list):
        yield from body["keys"]
    elif body is not None:
        yield body


@cache
def _record_kinds() -> frozenset[str]:
    return frozenset(resource.local_name for resource in catalogue().values() if resource.parent is None)


def _kebab(text: str) -> str:
    """``PurchaseOrders``, ``purchase_orders`` and ``Purchase Orders`` are ``purchase-orders``."""
    return re.sub(r"[\s_]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text.strip())).lower()


def _kind(name: str) -> PlatformKind:
    words = set(re.findall(r"[a-z]+", _kebab(name)))
    if words & {"sync", "synchronization", "synchronisation", "synced"}:
        if words & {"error", "failed", "fail", "failure"}:
            return "error"
        if words & {"completed", "complete", "done", "finished", "succeeded", "success", "synced"}:
            return "sync completed"
        return "unknown"
    if words & _ABOUT_CONNECTIONS or ("status" in words and words <= _STATUS_CHANGE):
        return "connection"
    return "error" if words & {"error", "errors", "failed", "failure", "outage"} else "unknown"


def _connection(content: Mapping[str, Any]) -> str | None:
    for place in (content, *(content.get(name) for name in _BODY_NAMES)):
        if not isinstance(place, dict):
            continue
        for name in _CONNECTION_NAMES:
            value = place.get(name)
            if isinstance(value, dict):
                value = value.get("id", value.get("key"))
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return None


def _details(content: Mapping[str, Any]) -> str:
    places = ("details", "message", "error", "description", "reason", *_BODY_NAMES)
    found = next((content[name] for name in places if content.get(name)), "")
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    return " ".join(text.split())[:_LONGEST_DETAILS]
