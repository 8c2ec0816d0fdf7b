"""The connections of an application, as ``GET /api/system/connections`` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Which words Makini has for a status is not published: these say in any spelling that no data can come, since
# something has broken, or since somebody wants it so.
_SIGNS_OF_A_FAULT: Final = ("disconnect", "error", "expired", "fail", "invalid", "reauth", "revoke")
_SIGNS_OF_REST: Final = ("delet", "disable", "draft", "inactive", "pending", "suspend")


def connection_id(connection: Mapping[str, Any]) -> str:
    """What names a connection in paths."""
    return str(connection.get("key") or connection.get("id") or "")


def is_usable(connection: Mapping[str, Any]) -> bool:
    """Whether its status lets hope that it can be read; one that is not told does."""
    return not _has(connection, _SIGNS_OF_A_FAULT) and not is_at_rest(connection)


def is_at_rest(connection: Mapping[str, Any]) -> bool:
    """Whether its status says that it was switched off, or is not set up yet: nobody waits for its data."""
    return _has(connection, _SIGNS_OF_REST)


def _has(connection: Mapping[str, Any], signs: tuple[str, ...]) -> bool:
    status = str(connection.get("status") or "").lower()
    return any(sign in status for sign in signs)
