"""From the fields of an Airflow connection to the settings of a client; knows no Airflow itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from makini_provider.api.auth import StaticToken, TokenSource
from makini_provider.api.client import DEFAULT_PAGE_SIZE
from makini_provider.api.errors import MakiniConfigurationError, UnusableTokenError
from makini_provider.api.transport import TransportSettings

CONNECTION_TYPE: Final = "makini"
DEFAULT_HOST: Final = "https://api.makini.io"
DEFAULT_PARALLEL_REQUESTS: Final = 4

# The names of the later ones are known already, so that who sets them is told and not misunderstood.
_AUTHS_FOR_LATER: Final = ("client_credentials", "refresh_token")
_KEYS_FOR_LATER: Final = ("makini_connection", "refresh_token", "token_store")
_DIALECTS_FOR_LATER: Final = ("cursor",)
EXTRA_KEYS: Final = (
    "allow_http",
    "auth",
    "dialect",
    "max_parallel_requests",
    "page_size",
    "proxies",
    "requests_per_minute",
    "timeout",
    "verify",
    *_KEYS_FOR_LATER,
)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a connection says about the client.

    :param base_url: scheme, host, port and path prefix, without a trailing slash
    :param tokens: where the bearer token comes from
    :param transport: timeouts, TLS and proxies
    :param page_size: records asked for in one request
    :param max_parallel_requests: threads that may read at once
    :param requests_per_minute: the most that go out, or ``None`` for no limit of ours
    :param warnings: what is odd about the connection and does no harm, in words for the log
    """

    base_url: str
    tokens: TokenSource
    # Proxy URLs may hold a password.
    transport: TransportSettings = field(repr=False)
    page_size: int = DEFAULT_PAGE_SIZE
    max_parallel_requests: int = DEFAULT_PARALLEL_REQUESTS
    requests_per_minute: int | None = None
    warnings: tuple[str, ...] = ()


def read_settings(
    *,
    conn_id: str,
    host: str | None = None,
    schema: str | None = None,
    port: int | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: str | Mapping[str, Any] | None = None,
) -> ConnectionSettings:
    """Read a connection's fields; what they leave out has its default.

    A connection is often written as a URI or through environment variables, so that every value may come
    as text. A file is looked at (the CA bundle of ``verify``); nothing is sent.

    :param conn_id: names the connection in errors
    :param host: of the API, with or without a scheme
    :param schema: ``https`` or ``http``, where the host has none
    :param port: where the host has none
    :param login: client id; not supported yet
    :param password: the API token
    :param extra: a JSON object, as text or parsed
    :raises MakiniConfigurationError: names the field, what is wrong with it, and the way out
    """
    fields = _Fields(conn_id, extra)
    _refuse_what_comes_later(fields, login)
    allow_http = fields.flag("allow_http", default=False)
    verify = fields.verify()
    return ConnectionSettings(
        base_url=_base_url(fields, host, schema, port, allow_http=allow_http),
        tokens=_token(fields, password),
        transport=TransportSettings(
            timeout=fields.seconds("timeout", default=TransportSettings().timeout),
            verify=verify,
            proxies=fields.proxies(),
        ),
        page_size=fields.whole_number("page_size") or DEFAULT_PAGE_SIZE,
        max_parallel_requests=fields.whole_number("max_parallel_requests") or DEFAULT_PARALLEL_REQUESTS,
        requests_per_minute=fields.whole_number("requests_per_minute"),
        warnings=tuple(fields.warnings() + ([] if verify else [_UNVERIFIED])),
    )


_UNVERIFIED: Final = (
    "'verify' is false, so whoever sits in between can read the token. "
    "Give the path of your network's CA bundle instead."
)


class _Fields:
    """The values of ``extra``, each read as what it must be."""

    def __init__(self, conn_id: str, extra: str | Mapping[str, Any] | None) -> None:
        self.conn_id = conn_id
        self._extra = self._object(extra)

    def error(self, what: str, remedy: str) -> MakiniConfigurationError:
        return MakiniConfigurationError(f"connection {self.conn_id!r}: {what}", remedy=remedy)

    def wrong(self, key: str, must_be: str, value: Any) -> MakiniConfigurationError:
        return self.error(
            f"extra {key!r} must be {must_be}, not {_shown(value)}.",
            "Correct it in the connection's extra, or leave it out for the default.",
        )

    def get(self, key: str) -> Any:
        """The value, or ``None`` where it is absent; the form leaves null or empty text in unused fields."""
        value = self._extra.get(key)
        if isinstance(value, str):
            value = value.strip()
        return None if value == "" else value

    def text(self, key: str, must_be: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, must_be, value)
        return value.lower() if value else None

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        flag = _as_flag(value)
        if flag is None:
            raise self.wrong(key, "true or false", value)
        return flag

    def whole_number(self, key: str) -> int | None:
        number = self._number(key, int, "a whole number of at least 1", lambda number: number >= 1)
        return None if number is None else int(number)

    def seconds(self, key: str, *, default: float) -> float:
        must_be = "a number of seconds above 0"
        number = self._number(key, float, must_be, lambda number: number > 0 and math.isfinite(number))
        return default if number is None else number

    def _number(
        self, key: str, kind: type[int | float], must_be: str, fits: Callable[[float], bool]
    ) -> float | None:
        value = self.get(key)
        if value is None:
            return None
        accepted = int | float | str if kind is float else int | str
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise self.wrong(key, must_be, value)
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise self.wrong(key, must_be, value) from None
        if not fits(number):
            raise self.wrong(key, must_be, value)
        return number

    def verify(self) -> bool | str:
        value = self.get("verify")
        if value is None:
            return True
        flag = _as_flag(value)
        if flag is not None:
            return flag
        if not isinstance(value, str):
            raise self.wrong("verify", "true, false, or the path of a CA bundle", value)
        if not Path(value).is_file():
            raise self.error(
                f"extra 'verify' names the CA bundle {value!r}, which is no file on this machine.",
                "Give the path of a PEM file that every worker has, or true for the usual authorities.",
            )
        return value

    def proxies(self) -> dict[str, str]:
        value = self.get("proxies")
        if value is None:
            return {}
        must_be = 'an object of proxy URLs by scheme, such as {"https": "http://proxy.example:3128"}'
        if isinstance(value, str):
            value = _parsed(value)
        # Proxy URLs may hold a password, so that nothing of the value is shown.
        if not isinstance(value, Mapping):
            raise self.error(f"extra 'proxies' must be {must_be}.", "Correct it in the connection's extra.")
        for scheme, url in value.items():
            if not isinstance(url, str) or not urlsplit(url if "://" in url else f"http://{url}").hostname:
                raise self.error(
                    f"extra 'proxies' must be {must_be}; the entry {str(scheme)!r} holds no URL.",
                    "Correct it in the connection's extra.",
                )
        return dict(value)

    def warnings(self) -> list[str]:
        """A line for each key that nothing reads; never with its value, which may be a secret."""
        lines = []
        for key in self._extra:
            if key not in EXTRA_KEYS:
                near = get_close_matches(key.lower().replace("-", "_"), EXTRA_KEYS, n=1)
                meant = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(EXTRA_KEYS)}."
                lines.append(f"extra {key!r} is not known and has no effect. {meant}")
        return lines

    def _object(self, extra: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
        value = _parsed(extra) if isinstance(extra, str) and extra.strip() else extra or {}
        if not isinstance(value, Mapping):
            raise self.error(
                "extra must be a JSON object, and is "
                + ("no JSON." if value is None else f"{_kind(value)}."),
                'Write it as {"page_size": 100}, or leave it empty.',
            )
        return value


def _refuse_what_comes_later(fields: _Fields, login: str | None) -> None:
    later = "This version takes an API token only: put the connection's own token into the password"
    auth = fields.text("auth", "text")
    if auth in _AUTHS_FOR_LATER:
        raise fields.error(f"extra 'auth' is {auth!r}, which a later release supports.", f"{later}.")
    if auth not in (None, "token"):
        raise fields.wrong("auth", "'token'", auth)
    if login and login.strip():
        raise fields.error(
            "login is set, so that the password is taken for a client secret (client credentials), which a "
            "later release supports.",
            f"{later} and leave the login empty.",
        )
    for key in _KEYS_FOR_LATER:
        if fields.get(key) is not None:
            raise fields.error(
                f"extra {key!r} is set, which needs a way in that a later release supports.",
                f"{later} and remove {key!r}.",
            )
    dialect = fields.text("dialect", "text")
    if dialect in _DIALECTS_FOR_LATER:
        raise fields.error(
            f"extra 'dialect' is {dialect!r}, which a later release supports.",
            "Use 'published', or leave it out.",
        )
    if dialect not in (None, "published"):
        raise fields.wrong("dialect", "'published'", dialect)


def _token(fields: _Fields, password: str | None) -> TokenSource:
    if not password:
        conn_id = fields.conn_id
        raise fields.error(
            "there is no API token.",
            "Put it into the connection's password: in the UI (Admin, Connections, field 'API token'), in "
            f"the environment (AIRFLOW_CONN_{conn_id.upper()}='"
            '{"conn_type": "makini", "password": "<token>"}\') or in your secrets backend.',
        )
    try:
        return StaticToken(password)
    except UnusableTokenError as error:
        raise UnusableTokenError(
            f"connection {fields.conn_id!r}: {error.message}", remedy=error.remedy, shape=error.shape
        ) from None


def _base_url(
    fields: _Fields, host: str | None, schema: str | None, port: int | None, *, allow_http: bool
) -> str:
    def unusable(why: str) -> MakiniConfigurationError:
        return fields.error(f"the host {why}.", f"Write it like {DEFAULT_HOST} or {DEFAULT_HOST}:443.")

    text = (host or "").strip() or DEFAULT_HOST
    if "://" not in text:
        bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
        text = f"{(schema or '').strip() or 'https'}://{f'[{text}]' if bare_ipv6 else text}"
    # What a host can't hold is named and not shown: credentials and tokens get pasted there.
    if not text.isascii() or "\\" in text or any(c.isspace() or not c.isprintable() for c in text):
        raise unusable("contains characters that a host can't have (a name in other letters: as xn--…)")
    try:
        parts = urlsplit(text)
        own_port = parts.port
    except ValueError:
        raise unusable("has a port or an address that is none") from None
    scheme, name = parts.scheme.lower(), parts.hostname
    if scheme not in ("https", "http"):
        raise unusable(f"has the scheme {scheme[:20]!r}; it must be https")
    if not name:
        raise unusable("has no name")
    if "@" in parts.netloc:
        raise unusable("contains a user name or password, which belong into fields of their own")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise unusable("contains a query or a fragment")
    prefix = parts.path.rstrip("/")
    if "//" in prefix or any(segment in (".", "..") for segment in prefix.split("/")):
        raise unusable("has a path that leads elsewhere")
    if port and own_port and port != own_port:
        raise unusable(f"names port {own_port} and the connection's port is {port}")
    # The UI's test button sends 0 for an empty port.
    number = own_port or port or None
    if number is not None and not 0 < number < 65536:
        raise unusable(f"can't have the port {number}")
    if scheme == "http" and not allow_http and not _is_loopback(name):
        raise fields.error(
            f"plain http to {name!r} would send the token readable for everyone in between.",
            "Use https; or set 'allow_http' to true in the connection's extra, where the network is yours.",
        )
    address = f"[{name}]" if ":" in name else name
    return f"{scheme}://{address}{f':{number}' if number else ''}{prefix}"


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def _parsed(text: str) -> Any:
    """The JSON value, or ``None`` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_LONGEST_SHOWN: Final = 16
"""Longer text is not shown: it could be a token in the wrong field."""


def _shown(value: Any) -> str:
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_SHOWN):
        return repr(value)
    return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return {list: "a list", bool: "true or false", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )
