"""Tokens that are asked for when they are needed and kept in memory only (client credentials)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Final, NoReturn
from urllib.parse import quote

from makini_provider.api.auth import TokenSource
from makini_provider.api.client import MakiniClient
from makini_provider.api.connections import connection_id
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniError,
    MakiniNotFoundError,
    UnknownMakiniConnectionError,
)
from makini_provider.api.oauth import IssuedToken, issued, read_json
from makini_provider.api.transport import Transport

_MOST_NAMED: Final = 10


class MintedTokens:
    """Keeps a token until shortly before its end, and then asks for another: one thread asks, the others
    wait and take what it got, be it a token or an error.

    :param mint: asks for a token; is given the one that was refused, where one was
    :param now: the time by the server's clock
    """

    def __init__(self, mint: Callable[[str | None], IssuedToken], now: Callable[[], datetime]) -> None:
        self._mint = mint
        self._now = now
        self._lock = Lock()
        self._held: IssuedToken | None = None
        self._failure: MakiniError | None = None
        self._mints = 0

    def token(self) -> str:
        """Return a token that is good now."""
        held = self._held
        if held is not None and held.is_good(self._now()):
            return held.token
        return self._another(held, None).token

    def renewed(self, refused: str) -> str:
        """Return another token after the API refused one, also where that had time left."""
        held = self._held
        if held is not None and held.token != refused:
            return held.token
        return self._another(held, refused).token

    def _another(self, than: IssuedToken | None, refused: str | None) -> IssuedToken:
        mints = self._mints
        with self._lock:
            if self._held is not None and self._held is not than:
                return self._held
            if self._mints > mints and self._failure is not None:
                raise self._failure
            try:
                self._held, self._failure = self._mint(refused), None
            except MakiniError as error:
                self._failure = error
                raise
            finally:
                self._mints += 1
            return self._held

    def __repr__(self) -> str:
        return "MintedTokens(***)"


class NoConnectionNamed:
    """In place of the tokens of a connection, where none was named: says so when one is needed.

    :param application: tokens of the application; where it is refused itself, that is said first
    :param error: what to say
    """

    def __init__(self, application: TokenSource, error: MakiniConfigurationError) -> None:
        self._application = application
        self._error = error

    def token(self) -> NoReturn:
        """Raise the error."""
        self._application.token()
        raise self._error

    def renewed(self, refused: str) -> None:
        """Return nothing: there is no token."""


def connection_token(transport: Transport, makini_connection: str) -> IssuedToken:
    """Ask for a token of one of an application's connections.

    :param transport: signs requests below ``/api/system/`` as the application
    :param makini_connection: the Makini connection's id
    :raises UnknownMakiniConnectionError: the application has none of this id; names those that it has
    """
    path = f"/api/system/connections/{quote(makini_connection, safe='')}/token"
    try:
        answer = transport.request("POST", path, json={}, repeatable=True, check=read_json)
    except MakiniNotFoundError as error:
        names = _names(transport)
        if makini_connection in names:
            raise
        raise UnknownMakiniConnectionError(
            f"there is no Makini connection {makini_connection!r}. {_listed(names)}",
            remedy="Correct makini_connection, or connect the system in Makini.",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error
    return issued(answer, transport.clock.now())


def _names(transport: Transport) -> dict[str, str]:
    """The names of an application's connections, by id."""
    return {connection_id(one): str(one.get("name") or "") for one in MakiniClient(transport).connections()}


def _listed(names: dict[str, str]) -> str:
    if not names:
        return "The application has none at all."
    shown = [f"{key!r} ({name})" if name else repr(key) for key, name in list(names.items())[:_MOST_NAMED]]
    more = len(names) - len(shown)
    return f"There {'is' if len(names) == 1 else 'are'} {', '.join(shown)}" + (
        f" and {more} more." if more else "."
    )
