"""Who may ask for what: the sandbox's token, and those that OAuth gives (``POST /link/token``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from threading import RLock
from typing import Any, Literal

from .access import is_expired, is_the_token, make_token
from .behaviour import Behaviour
from .clock import Clock

DEFAULT_CLIENT_ID = "sandbox-client"
DEFAULT_CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105

_REFRESH_TOKEN_LIVES_LONGER = timedelta(days=1)
_CAMEL = {"access_token": "accessToken", "refresh_token": "refreshToken", "expires_in": "expiresIn"}


class RefusedError(Exception):
    """
    A request for a token that is not granted.

    :param status: of the answer.
    :param code: as RFC 6749, section 5.2, has them.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NotGoodError(Exception):
    """
    A token that opens nothing.

    :param reason: one of ``Refusal``.
    """

    def __init__(self, reason: Literal["invalid", "expired"]) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class _Issued:
    ends: datetime
    #: Whose data it opens; ``None`` for the application itself.
    connection: str | None


class Authority:
    """
    Gives tokens, and knows which are good.

    :param token: the one that opens the first connection for good.
    :param connection: the key of that connection.
    :param clock: the server's.
    """

    def __init__(self, token: str, connection: str, clock: Clock) -> None:
        self.token = token
        self.client_id = DEFAULT_CLIENT_ID
        self.client_secret = DEFAULT_CLIENT_SECRET
        self.behaviour = Behaviour()
        self._connection = connection
        self._clock = clock
        self._lock = RLock()
        self._access: dict[str, _Issued] = {}
        self._refresh: dict[str, _Issued] = {}

    # Who asks

    def is_own(self, authorization: str) -> bool:
        """Whether a header has the sandbox's own token, which may also steer it."""
        return is_the_token(authorization, self.token)

    def connection_of(self, authorization: str) -> str | None:
        """Return the connection that a header opens, ``None`` for an application's token; or NotGoodError."""
        now = self._clock.now()
        if self.is_own(authorization):
            if is_expired(self.token, now):
                raise NotGoodError("expired")
            return self._connection
        with self._lock:
            issued = self._access.get(authorization.removeprefix("Bearer "))
        if issued is None:
            raise NotGoodError("invalid")
        if issued.ends <= now:
            raise NotGoodError("expired")
        return issued.connection

    # Tokens

    def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answer ``POST /link/token``; RefusedError where nothing is granted."""
        known = form.get("client_id"), form.get("client_secret")
        if known != (self.client_id, self.client_secret):
            raise RefusedError(401, "invalid_client", "client authentication failed")
        kind = form.get("grant_type")
        if kind == "client_credentials":
            return self._told(self._issue(None, self.behaviour.token_lifetime))
        if kind == "refresh_token":
            with self._lock:
                # Spent at once, whatever becomes of the answer.
                issued = self._refresh.pop(form.get("refresh_token", ""), None)
            if issued is None or issued.connection is None or issued.ends <= self._clock.now():
                raise RefusedError(400, "invalid_grant", "the refresh token is invalid")
            return self.pair(issued.connection)
        raise RefusedError(400, "unsupported_grant_type", f"grant_type {kind!r} is not supported")

    def connection_token(self, connection: str) -> dict[str, Any]:
        """Answer ``POST /api/system/connections/{id}/token``."""
        told = self._told(self._issue(connection, self.behaviour.token_lifetime))
        told = told.get("data", told)
        token = told.pop("access_token", None) or told.pop("accessToken")
        told = {"token": token, **told}
        return told if self.behaviour.grant_spelling == "flat" else {"data": told}

    def pair(self, connection: str) -> dict[str, Any]:
        """Give a pair of tokens, as connecting a system does."""
        token, ends = self._issue(connection, self.behaviour.pair_lifetime)
        refresh_token = f"rt-{token_urlsafe(24)}"
        with self._lock:
            self._refresh[refresh_token] = _Issued(ends + _REFRESH_TOKEN_LIVES_LONGER, connection)
        return self._told((token, ends), refresh_token=refresh_token)

    def revoke(self, *, access: bool = True, refresh: bool = False) -> None:
        """Let the tokens that were given so far be good for nothing; the sandbox's own stays."""
        with self._lock:
            if access:
                self._access.clear()
            if refresh:
                self._refresh.clear()

    @property
    def given_tokens(self) -> list[str]:
        """All tokens that are known: given, and neither spent nor revoked."""
        with self._lock:
            return [*self._access, *self._refresh]

    def knows_refresh_token(self, refresh_token: str) -> bool:
        """Whether a refresh token is good for one more call."""
        with self._lock:
            return refresh_token in self._refresh

    def _issue(self, connection: str | None, lifetime: float) -> tuple[str, datetime]:
        ends = self._clock.now() + timedelta(seconds=lifetime)
        claims = {"sub": connection or "application", "jti": token_urlsafe(12)}
        token = make_token(exp=int(ends.timestamp()), **claims)
        if self.behaviour.opaque_tokens:
            token = token_urlsafe(32)
        with self._lock:
            self._access[token] = _Issued(ends, connection)
        return token, ends

    def _told(self, issued: tuple[str, datetime], **more: str) -> dict[str, Any]:
        """Write a token down as the behaviour wants it."""
        token, ends = issued
        absolute = int(ends.timestamp())
        duration = round((ends - self._clock.now()).total_seconds())
        spelling = self.behaviour.expires_in
        answer: dict[str, Any] = {"token_type": "Bearer", "access_token": token, **more}
        if spelling != "absent":
            number = absolute if spelling.startswith("absolute") else duration
            answer["expires_in"] = str(number) if spelling.endswith("text") else number
        if self.behaviour.grant_spelling == "camel":
            return {_CAMEL.get(name, name): value for name, value in answer.items()}
        if self.behaviour.grant_spelling == "data":
            return {"data": answer}
        return answer
