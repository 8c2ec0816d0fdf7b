"""Who may do what in the sandbox: every reason for which the API refuses a token, in every wording."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

Refusal = Literal[
    "",  # not refused
    "no_header",  # the server has not found the header, as when a proxy removes it
    "invalid",
    "expired",
    "revoked",
    "credentials_changed",  # those of the connected system
    "reauthorization",  # the customer must connect the system again
    "permission",  # the token is good and may read nothing
]
RefusalWording = Literal["plain", "code", "message"]
RequestIdPlace = Literal["both", "header", "body", "none"]

_KIND = "authentication_error"
_PLAIN = ("AUTHENTICATION_FAILED", "the token is invalid or expired")
_REASONS: dict[str, tuple[str, str]] = {
    "no_header": ("AUTHORIZATION_HEADER_MISSING", "the Authorization header is missing"),
    "invalid": ("INVALID_TOKEN", "the token is not known"),
    "expired": ("TOKEN_EXPIRED", "the access token has expired"),
    "revoked": ("TOKEN_REVOKED", "the token was revoked"),
    "credentials_changed": (
        "SOURCE_CREDENTIALS_INVALID",
        "the credentials of the connected system have changed",
    ),
    "reauthorization": ("REAUTHORIZATION_REQUIRED", "the connection requires reauthorization"),
    "permission": ("PERMISSION_DENIED", "the token lacks a permission"),
}


class Refused(NamedTuple):
    """An answer that refuses."""

    status: int
    code: str
    kind: str
    message: str


def refusal_of(reason: str, wording: RefusalWording, status: int = 401) -> Refused:
    """Return the answer for a reason.

    :param reason: one of ``Refusal``, not empty
    :param wording: ``plain`` tells no reason; ``code`` and ``message`` tell it in the one and not the other
    :param status: of the answer
    """
    code, message = _REASONS[reason]
    if wording != "code":
        code = "PERMISSION_DENIED" if status == 403 else _PLAIN[0]
    if wording != "message":
        message = "this is not allowed" if status == 403 else _PLAIN[1]
    return Refused(status, code, _KIND, message)


def is_expired(token: str, now: datetime) -> bool:
    """Whether a token says of itself that it has ended: ``exp`` of a JWT (RFC 7519, section 4.1.4)."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return bool(claims["exp"] <= now.timestamp())
    except (IndexError, ValueError, KeyError, TypeError):
        return False


def make_token(**claims: Any) -> str:
    """Make an unsigned JWT with these claims, such as ``exp=1764000000``, for the sandbox alone."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "makini-sandbox", **claims})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join([*encoded, "sandbox"])


def is_the_token(given: str, token: str) -> bool:
    """Whether a request's ``Authorization`` is the token as it should be sent."""
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def is_denied(path: str, denied: Iterable[str]) -> bool:
    """Whether a path belongs to one of the resources, given as ``eam/assets``, ``eam/*`` or a path."""
    for name in denied:
        start = name if name.startswith("/") else f"/api/{name}"
        if start.endswith("/*"):
            if path.startswith(start[:-1]):
                return True
        elif path == start or path.startswith(f"{start}/"):
            return True
    return False
