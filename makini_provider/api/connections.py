"""The connections of an application, as ``GET /api/system/connections`` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Which words Makini has for a status is not published: these say in any spelling that no data can come.
_SIGNS_OF_NO_USE: Final = (
    "delet",
    "disable",
    "disconnect",
    "draft",
    "error",
    "expired",
    "fail",
    "inactive",
    "invalid",
    "pending",
    "reauth",
    "revoke",
    "suspend",
)


def connection_id(connection: Mapping[str, Any]) -> str:
    """What names a connection in paths."""
    return str(connection.get("key") or connection.get("id") or "")


def is_usable(connection: Mapping[str, Any]) -> bool:
    """Whether its status lets hope that it can be read; one that is not told does."""
    status = str(connection.get("status") or "").lower()
    return not any(sign in status for sign in _SIGNS_OF_NO_USE)
