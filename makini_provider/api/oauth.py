"""The token endpoint, ``POST /link/token`` (OAuth 2.0, RFC 6749): what is asked of it and what it answers."""

from __future__ import annotations

import base64
import codecs
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from makini_provider.api.auth import Unsigned
from makini_provider.api.errors import (
    ClientRefusedError,
    MakiniNotFoundError,
    MakiniProtocolError,
    MakiniStatusError,
    MalformedAnswerError,
    RefreshTokenRefusedError,
)
from makini_provider.api.records import parse_instant
from makini_provider.api.token_pair import TokenPair
from makini_provider.api.transport import Answer, Form, Transport

TOKEN_PATH: Final = "/link/token"  # noqa: S105  (a path)

_ABSOLUTE_FROM: Final = 10 * 365 * 86400
"""Seconds of ``expires_in`` from which it is taken for a point in time: Makini's examples have both."""
_TOKEN_KEYS: Final = ("accesstoken", "token", "bearertoken")
_REFRESH_TOKEN_KEYS: Final = ("refreshtoken",)
_EXPIRY_KEYS: Final = ("expiresin", "expiresat", "expires", "expiration", "expiry")
_ENVELOPES: Final = ("data", "result", "token")
_OF_THE_CLIENT: Final = ("invalid_client", "unauthorized_client")
_OF_THE_REQUEST: Final = ("invalid_request", "invalid_scope", "unsupported_grant_type")
_CLIENT_REMEDY: Final = (
    "Put the application's client id into the connection's login, and its current client secret into the "
    "password."
)
_LARGEST_MARGIN: Final = timedelta(seconds=60)
_SMALLEST_MARGIN: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token as the API issued it.

    :param token: what goes behind ``Bearer``
    :param issued_at: by the server's clock
    :param expires_at: likewise; ``None`` where neither the answer nor the token says
    :param refresh_token: what replaces it, where the grant gives one
    """

    token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime | None = None
    refresh_token: str | None = field(default=None, repr=False)

    def is_good(self, now: datetime) -> bool:
        """Whether it can still be sent; one that does not say when it ends can, until it is refused."""
        return is_good(self.issued_at, self.expires_at, now)


def is_good(issued_at: datetime, expires_at: datetime | None, now: datetime) -> bool:
    """Whether a token lives long enough to be sent now.

    It is replaced a tenth of its life before its end, at most a minute; at least two seconds, since the
    server's clock is known to the second.

    :param issued_at: by the server's clock, like the others
    :param expires_at: ``None`` where it is not known
    :param now: the present
    """
    if expires_at is None:
        return True
    margin = max(min((expires_at - issued_at) / 10, _LARGEST_MARGIN), _SMALLEST_MARGIN)
    return now < expires_at - margin


class TokenEndpoint:
    """Asks for tokens over the transport of a connection, so at its host and in its ways.

    :param transport: sends the requests; they are not signed by it
    :param client_id: of the application
    :param client_secret: likewise
    """

    def __init__(self, transport: Transport, client_id: str, client_secret: str) -> None:
        self._transport = transport
        self._client_id = client_id
        self._client_secret = client_secret

    def application_token(self) -> IssuedToken:
        """A token of the application itself (RFC 6749, section 4.4).

        :raises ClientRefusedError: client id and secret are not accepted
        """
        return self._ask(self._form("client_credentials"), repeatable=True)

    def refresh(self, pair: TokenPair) -> IssuedToken:
        """A new pair of tokens for a refresh token, which is spent by it (RFC 6749, section 6).

        It is asked once: where no answer comes, the refresh token may be spent or not.

        :param pair: holds the refresh token
        :raises RefreshTokenRefusedError: it is spent, expired or revoked
        :raises ClientRefusedError: client id and secret are not accepted
        """
        form = self._form("refresh_token", refresh_token=pair.refresh_token)
        found = self._ask(form, repeatable=False)
        # An answer without one means that the old one stays good (RFC 6749, section 6).
        return found if found.refresh_token else replace(found, refresh_token=pair.refresh_token)

    def _form(self, grant_type: str, **secrets: str) -> Form:
        return Form(
            {"grant_type": grant_type, "client_id": self._client_id},
            {"client_secret": self._client_secret, **secrets},
        )

    def _ask(self, form: Form, *, repeatable: bool) -> IssuedToken:
        try:
            answer = self._transport.request(
                "POST", TOKEN_PATH, form=form, auth=Unsigned(), repeatable=repeatable, check=read_json
            )
        except MakiniStatusError as error:
            explained = _explained(error, refreshing="refresh_token" in form.secrets)
            if explained is None:
                raise
            raise explained from error
        return issued(answer, self._transport.clock.now())


def issued(answer: Answer, now: datetime) -> IssuedToken:
    """Read a token from an answer, in any of the spellings that are known or likely.

    ``expires_in`` may be a number or text, a duration in seconds or a point in time: Makini's own
    description has all of them. One that has passed already says nothing about a token that is new.

    :param answer: of the token endpoint, or of ``POST /api/system/connections/{id}/token``
    :param now: by the server's clock
    :raises MalformedAnswerError: it is no JSON, which may pass
    :raises MakiniProtocolError: there is no token in it; what else is, is not shown
    """
    levels = _levels(read_json(answer))
    told = [{_plain(key): value for key, value in level.items()} for level in levels]
    token = next(_texts(told, _TOKEN_KEYS), None)
    if token is None:
        raise MakiniProtocolError(
            "the answer to a request for a token holds none.", remedy="Check the connection's host."
        )
    ends = [_expiry(level[key], now) for level in told for key in _EXPIRY_KEYS if key in level]
    expires_at = next((end for end in (*ends, stated_expiry(token)) if end is not None and end > now), None)
    return IssuedToken(token, now, expires_at, next(_texts(told, _REFRESH_TOKEN_KEYS), None))


def stated_expiry(token: str) -> datetime | None:
    """When a token says of itself that it ends (``exp``, RFC 7519); ``None`` where it is no such token."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return parse_instant(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return None


def read_json(answer: Answer) -> Any:
    """Read an answer that must hold a token.

    :raises MalformedAnswerError: it is no JSON
    """
    try:
        return msgspec.json.decode(answer.body.removeprefix(codecs.BOM_UTF8))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A gateway's page, mostly.
        raise MalformedAnswerError(
            "the answer to a request for a token is no JSON.", remedy="Check the connection's host."
        ) from None


def _explained(error: MakiniStatusError, *, refreshing: bool) -> MakiniStatusError | None:
    """The error of a refusal by its cause; ``None`` where it says enough already."""
    code = (error.code or "").lower()
    if error.status == 404:
        return MakiniNotFoundError(
            error.message,
            remedy="Check the connection's host: there is no token endpoint below it.",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        )
    if error.status not in (400, 401, 403) or (error.status == 400 and code in _OF_THE_REQUEST):
        return None
    # Servers of this make answer a spent refresh token with 400 or 401, by several codes.
    kind = RefreshTokenRefusedError if refreshing and code not in _OF_THE_CLIENT else ClientRefusedError
    return kind(
        error.message,
        remedy="" if kind is RefreshTokenRefusedError else _CLIENT_REMEDY,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _levels(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        yield body
        for key in _ENVELOPES:
            yield from _levels(body.get(key))


def _texts(levels: list[dict[str, Any]], keys: tuple[str, ...]) -> Iterator[str]:
    for level in levels:
        for key in keys:
            value = level.get(key)
            if isinstance(value, str) and value.strip():
                yield value.strip()


def _expiry(value: Any, now: datetime) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return parse_instant(value)
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    if seconds >= _ABSOLUTE_FROM:
        return parse_instant(seconds)
    return now + timedelta(seconds=seconds)
