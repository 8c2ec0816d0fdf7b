"""What a body tells the inbox: a type to show and an id to know it by. It may be anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

TYPE_NAMES: Final = ("event", "type", "event_type", "eventType")
ID_NAMES: Final = ("event_id", "eventId")
"""Not ``id``: nothing says that it would be the event's own, and not that of what the event is about. Who
took a connection's id for it would pass over all its later events."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a body says about itself.

    :param type: what it calls its event
    :param event_id: what makes the event unique
    :param readable: it is a JSON object
    """

    type: str | None = None
    event_id: str | None = None
    readable: bool = True


def open_envelope(body: bytes, *, id_name: str | None = None) -> Envelope:
    """Read type and id. Never fails: a body that makes no sense has neither.

    :param body: as received
    :param id_name: where the id stands, if it is not one of :data:`ID_NAMES`
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Envelope(readable=False)
    if not isinstance(content, dict):
        return Envelope(readable=False)
    return Envelope(_first(content, TYPE_NAMES), _first(content, (id_name,) if id_name else ID_NAMES))


def _first(content: dict[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = content.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None
