"""One record of a list: its bytes as they came, and the two fields that a sync needs to know."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from makini_provider.api.errors import MakiniProtocolError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 10**11
"""A numeric time from here on is in milliseconds: as seconds it would lie beyond the year 5000."""


_EPOCH_TEXT = re.compile(r"\d{10}|\d{13}", re.ASCII)
"""Seconds or milliseconds as text, part of which could pass for a date (``16111111…``)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    :param key: identifies it within its resource; ``None`` where the record has none, or an empty one
    :param cursor: when it was modified last, in UTC; ``None`` where it does not say
    :param raw: the JSON object as the server sent it, on one line
    """

    key: str | None
    cursor: datetime | None
    raw: bytes

    @property
    def identity(self) -> str:
        """The key, or what stands for it in a record without one: a digest of its content."""
        return self.key if self.key is not None else f"sha256:{hashlib.sha256(self.raw).hexdigest()}"


def parse_record(raw: bytes, cursor_field: str | None) -> Record:
    """Read key and cursor of a record and leave the rest as it is.

    :param raw: one JSON object
    :param cursor_field: the field to read the cursor from, or ``None``
    :raises MakiniProtocolError: it is not an object, or its key is neither text nor a number
    """
    try:
        head = msgspec.json.decode(raw, type=_head(cursor_field))
        # White space outside strings may hold line breaks; inside strings JSON has none.
        if b"\n" in raw or b"\r" in raw:
            raw = msgspec.json.format(raw, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MakiniProtocolError(f"a record of the list is not a JSON object ({error}).") from error
    key = None if head.key == "" else head.key
    if isinstance(key, bool | list | dict):
        raise MakiniProtocolError(f"a record's 'key' should be text or a number, not {type(key).__name__}.")
    return Record(None if key is None else str(key), parse_instant(head.cursor), raw)


@cache
def _head(cursor_field: str | None) -> Any:
    """What is decoded of a record; ``cursor`` stays ``None`` where no field is named."""
    # A field of that name in a record of a list without a cursor field must not be taken for one.
    name = cursor_field or "(no cursor field)"
    return msgspec.defstruct(
        "Head", [("key", Any, None), ("cursor", Any, None)], rename={"cursor": name}, gc=False
    )


def parse_instant(value: Any) -> datetime | None:
    """Read a time as the API writes it, in any of the spellings that connected systems send.

    :param value: ISO 8601 text (without an offset it is UTC), or seconds or milliseconds since 1970
    :return: the instant in UTC, cut to the microsecond; ``None`` where the value names none
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            if _EPOCH_TEXT.fullmatch(text):
                return parse_instant(int(text))
            instant = datetime.fromisoformat(text)
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            return _EPOCH + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None
    return None


def format_instant(instant: datetime) -> str:
    """Write a time as it is sent: ISO 8601 in UTC, with a fraction only where there is one."""
    text = instant.astimezone(UTC).isoformat()
    return text.replace("+00:00", "Z")
