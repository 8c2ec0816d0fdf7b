"""From an answer with an error status to a typed error: pure, whatever the body looks like."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from makini_provider.api.clock import parse_http_date
from makini_provider.api.errors import (
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniProtocolError,
    MakiniRateLimitError,
    MakiniRequestError,
    MakiniServerError,
    MakiniStatusError,
    MakiniUnauthorizedError,
)

_MAX_TEXT = 300
_REQUEST_ID_HEADERS = ("X-Request-Id", "X-Request-ID", "Request-Id", "X-Correlation-Id")
_REQUEST_ID_KEYS = ("request_id", "requestId", "requestID", "request-id")
_CODE_KEYS = ("code", "error_code", "errorCode", "error")
_MESSAGE_KEYS = ("message", "error_message", "errorMessage", "error_description", "detail", "title")

_BY_STATUS: dict[int, tuple[type[MakiniStatusError], str]] = {
    401: (
        MakiniUnauthorizedError,
        (
            "The token is invalid, expired or revoked, or the connected system must be authorized again: "
            "check the connection's password first, then the connection's status in Makini."
        ),
    ),
    403: (
        MakiniForbiddenError,
        "The token may not do this: check the permissions of the connected system's account.",
    ),
    404: (
        MakiniNotFoundError,
        "Check the key, and that this connection's system has this resource.",
    ),
    429: (MakiniRateLimitError, "Lower 'requests_per_minute' in the connection's extra."),
}


def failure_of_answer(
    method: str,
    path: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    secrets: Collection[str] = (),
) -> MakiniRequestError:
    """Make the error for an answer whose status is not 2xx.

    :param method: of the request
    :param path: of the request, without its query
    :param status: of the answer
    :param headers: of the answer
    :param body: of the answer; JSON in any of the known spellings, HTML, or nothing
    :param now: this machine's time, to turn a ``Retry-After`` date into seconds
    :param secrets: the token of the request, and the like, which a server may repeat in its answer
    """
    told = [*_objects(body), _challenge(headers.get("WWW-Authenticate"))]
    code = _first_text(told, _CODE_KEYS, secrets)
    message = _first_text(told, _MESSAGE_KEYS, secrets)
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    request_id = request_id or _first_text(told, _REQUEST_ID_KEYS, secrets)
    text = f"{method} {path} was answered with {status}" + (f": {message}" if message else ".")
    if 300 <= status < 400:
        return MakiniProtocolError(
            f"{method} {path} was answered with a redirect, which is never followed.",
            remedy="Set the connection's host to where the API really is.",
            status=status,
            request_id=request_id,
        )
    if status in (408, 425) or status >= 500:
        kind: type[MakiniStatusError] = MakiniServerError
        remedy = "It is tried again; if it goes on, give Makini's support the request ID."
    else:
        kind, remedy = _BY_STATUS.get(status, (MakiniStatusError, "The request must be changed to succeed."))
    failure = kind(
        text if text.endswith((".", "!", "?")) else f"{text}.",
        remedy=remedy,
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after_seconds(headers.get("Retry-After"), now=now),
    )
    failure.path, failure.told = path, message or ""
    return failure


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110, section 10.2.3): seconds or an HTTP date.

    :return: seconds from now, never negative; ``None`` where there is none or it is nonsense
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        date = parse_http_date(value)
        return None if date is None else max((date - now).total_seconds(), 0.0)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _objects(body: bytes) -> list[dict[str, Any]]:
    """The objects of an error body that may name its code, message and request ID."""
    try:
        return list(_nested(msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8))))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _challenge(header: str | None) -> dict[str, str]:
    """What ``WWW-Authenticate`` says of a token that is not accepted (RFC 6750, section 3)."""
    return dict(re.findall(r'\b(error|error_description)="([^"]*)"', header or ""))


def _nested(answer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(answer, dict):
        for key in ("error", "errors", "meta"):
            yield from _nested(answer.get(key))
        yield answer
    elif isinstance(answer, list):
        for item in answer[:1]:
            yield from _nested(item)


def _first_text(objects: list[dict[str, Any]], keys: tuple[str, ...], secrets: Collection[str]) -> str | None:
    for told in objects:
        for key in keys:
            value = told.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                text = " ".join(str(value).split())
                for secret in filter(None, secrets):
                    text = text.replace(secret, "***")
                return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return None
