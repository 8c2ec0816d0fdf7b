"""How a request proves who sends it."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

from makini_provider.api.errors import MakiniConfigurationError, UnusableTokenError
from makini_provider.api.token_shape import TokenShape


class TokenSource(Protocol):
    """Where the bearer token comes from: the seam for tokens that are minted or rotate."""

    def token(self) -> str:
        """Return a token that is good now."""
        ...

    def renewed(self, refused: str) -> str | None:
        """Return another token after the API answered one with 401; ``None`` where there is no other.

        :param refused: the token that the API did not accept; where another thread has replaced it already,
            the one that took its place is returned
        """
        ...


class StaticToken:
    """An API token that is valid until it is revoked.

    :param token: the token as it goes behind ``Bearer``
    :raises UnusableTokenError: it is empty, or can't stand in a header
    """

    def __init__(self, token: str) -> None:
        self._token = _checked(token)

    def token(self) -> str:
        """Return the token."""
        return self._token

    def renewed(self, refused: str) -> None:
        """Return nothing: there is no other token."""

    def __repr__(self) -> str:
        return "StaticToken(***)"


class Unsigned(AuthBase):
    """Leaves requests as they are: they prove by their body who sends them.

    As an ``AuthBase``, because ``requests`` would else take a ``.netrc`` entry.
    """

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request

    def token(self) -> str:
        """Return nothing."""
        return ""

    def renew(self, request: PreparedRequest) -> bool:  # noqa: ARG002
        """Return false: there is no token."""
        return False


class BearerAuth(AuthBase):
    """Sets ``Authorization: Bearer`` on requests to one origin, and refuses all others.

    As an ``AuthBase`` and not a session header, because ``requests`` lets a ``.netrc`` entry override the
    header.

    :param tokens: where the token comes from
    :param base_url: the only origin (scheme, host and port) that may see it
    :param system: where the token of requests below ``/api/system/`` comes from, where that is another: an
        application's own, while ``tokens`` are those of one of its connections
    """

    def __init__(self, tokens: TokenSource, base_url: str, *, system: TokenSource | None = None) -> None:
        self._tokens = tokens
        self._system = system or tokens
        self._origin = _origin(base_url)
        self._system_path = f"{urlsplit(base_url).path.rstrip('/')}/api/system/"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if _origin(request.url or "") != self._origin:
            raise MakiniConfigurationError(
                f"refused to send the token to {urlsplit(request.url or '').hostname!r}: "
                f"it belongs to {self._origin[1]!r}.",
                remedy="Use paths below the connection's base URL.",
            )
        request.headers["Authorization"] = f"Bearer {_checked(self._source(request).token())}"
        return request

    def token(self) -> str:
        """The token that requests carry now."""
        return self._tokens.token()

    def renew(self, request: PreparedRequest) -> bool:
        """Whether there is another token than the one that a request carried and the API refused."""
        refused = token_of(request)
        return self._source(request).renewed(refused) not in (None, refused)

    def _source(self, request: PreparedRequest) -> TokenSource:
        path = urlsplit(request.url or "").path
        return self._system if path.startswith(self._system_path) else self._tokens


def token_of(request: PreparedRequest) -> str:
    """The bearer token that a request carries; empty where it carries none."""
    headers = request.headers
    return headers.get("Authorization", "").removeprefix("Bearer ") if headers else ""


def _checked(token: str) -> str:
    if not token:
        raise _unusable(token, "is empty.", "Put it in the connection's password.")
    if not token.isascii() or any(character.isspace() or not character.isprintable() for character in token):
        raise _unusable(
            token,
            "contains white space or characters that a header can't carry.",
            "Copy it again, without line breaks and without the word 'Bearer'.",
        )
    return token


def _unusable(token: str, what: str, remedy: str) -> UnusableTokenError:
    return UnusableTokenError(f"the API token {what}", remedy=remedy, shape=TokenShape.of(token))


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port
