"""What can be told of a token without trusting it, and without showing it: its shape and its dates."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

# A count of seconds beyond this one is one of milliseconds.
_SECONDS_IN_THE_YEAR_5138: Final = 10**11


@dataclass(frozen=True, slots=True)
class TokenShape:
    """The shape of a token; nothing of its text.

    The claims of a JWT (RFC 7519, section 4.1) are read and not verified: only its issuer can do that.

    :param length: characters
    :param is_jwt: whether it reads as a JSON Web Token
    :param issued_at: its ``iat``, where it has one
    :param not_before: its ``nbf``, where it has one
    :param expires_at: its ``exp``, where it has one
    :param oddities: what a token should not have, in words that continue "the token …"
    """

    length: int
    is_jwt: bool = False
    issued_at: datetime | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    oddities: tuple[str, ...] = ()

    @classmethod
    def of(cls, token: str) -> TokenShape:
        """Look at a token as it would stand behind ``Bearer``."""
        claims = _claims(token)
        dates = claims or {}
        return cls(
            length=len(token),
            is_jwt=claims is not None,
            issued_at=_instant(dates.get("iat")),
            not_before=_instant(dates.get("nbf")),
            expires_at=_instant(dates.get("exp")),
            oddities=tuple(_oddities(token, is_jwt=claims is not None)),
        )

    def __str__(self) -> str:
        kind = "a JWT" if self.is_jwt else "not a JWT, so that it does not say how long it is valid"
        return f"{self.length} characters, {kind}"

    @property
    def dates(self) -> dict[str, datetime]:
        """The dates that it has, by what they mean."""
        dates = {
            "issued": self.issued_at,
            "valid from": self.not_before,
            "valid until": self.expires_at,
        }
        return {meaning: date for meaning, date in dates.items() if date is not None}


def _claims(token: str) -> Mapping[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_=-]+", part) for part in parts[:2]):
        return None
    header, claims = (_decoded(part) for part in parts[:2])
    return claims if header is not None else None


def _decoded(part: str) -> Mapping[str, Any] | None:
    part = part.rstrip("=")
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _instant(value: Any) -> datetime | None:
    """Read a ``NumericDate`` (RFC 7519, section 2): seconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
        if math.isfinite(seconds) and abs(seconds) > _SECONDS_IN_THE_YEAR_5138:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _oddities(token: str, *, is_jwt: bool) -> Iterator[str]:
    if not token.strip():
        yield "is empty"
        return
    if re.search(r"\s", token):
        yield "contains white space or a line break"
    if not token.isascii() or any(not c.isprintable() and not c.isspace() for c in token):
        yield "contains characters that a header can't carry"
    if re.match(r"\s*(bearer|basic|token)\b", token, re.IGNORECASE) and not is_jwt:
        yield "begins with a word such as 'Bearer', which is added when it is sent"
    if re.search(r"[\"'`“”‘’]", token):  # noqa: RUF001
        yield "contains quotation marks"
    if re.fullmatch(r"\s*(\*{3,}|•{3,}|<.*>|\{.*\})\s*", token, re.DOTALL):
        yield "is a placeholder, or a whole JSON document, in place of the token"
    if re.search(r"%[0-9A-Fa-f]{2}", token):
        yield "is percent-encoded"
    if token.strip().startswith("eyJ") and not is_jwt:
        yield "begins like a JWT and is cut short or damaged"
