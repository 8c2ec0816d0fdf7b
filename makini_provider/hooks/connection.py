"""From the fields of an Airflow connection to the settings of a client; knows no Airflow itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from makini_provider.api.client import DEFAULT_PAGE_SIZE
from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.transport import TransportSettings, is_loopback
from makini_provider.hooks.credentials import Credentials, read_credentials
from makini_provider.hooks.fields import Fields

CONNECTION_TYPE: Final = "makini"
DEFAULT_HOST: Final = "https://api.makini.io"
DEFAULT_PARALLEL_REQUESTS: Final = 4

_DIALECTS_FOR_LATER: Final = ("cursor",)
EXTRA_KEYS: Final = (
    "allow_http",
    "auth",
    "dialect",
    "makini_connection",
    "max_parallel_requests",
    "page_size",
    "proxies",
    "refresh_token",
    "requests_per_minute",
    "timeout",
    "token_store",
    "verify",
)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a connection says about the client.

    :param base_url: scheme, host, port and path prefix, without a trailing slash
    :param credentials: who asks
    :param transport: timeouts, TLS and proxies
    :param page_size: records asked for in one request
    :param max_parallel_requests: threads that may read at once
    :param requests_per_minute: the most that go out, or ``None`` for no limit of ours
    :param warnings: what is odd about the connection and does no harm, in words for the log
    """

    base_url: str
    credentials: Credentials
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
    makini_connection: str | None = None,
) -> ConnectionSettings:
    """Read a connection's fields; what they leave out has its default.

    A connection is often written as a URI or through environment variables, so that every value may come
    as text. A file is looked at (the CA bundle of ``verify``); nothing is sent.

    :param conn_id: names the connection in errors
    :param host: of the API, with or without a scheme
    :param schema: ``https`` or ``http``, where the host has none
    :param port: where the host has none
    :param login: client id of an application
    :param password: the API token, or the client secret where there is a client id
    :param extra: a JSON object, as text or parsed
    :param makini_connection: takes the place of the extra's
    :raises MakiniConfigurationError: names the field, what is wrong with it, and the way out
    """
    fields = Fields(conn_id, extra)
    _check_dialect(fields)
    allow_http = fields.flag("allow_http", default=False)
    verify = fields.verify()
    return ConnectionSettings(
        base_url=_base_url(fields, host, schema, port, allow_http=allow_http),
        credentials=read_credentials(fields, login, password, makini_connection),
        transport=TransportSettings(
            timeout=fields.seconds("timeout", default=TransportSettings().timeout),
            verify=verify,
            proxies=fields.proxies(),
        ),
        page_size=fields.whole_number("page_size") or DEFAULT_PAGE_SIZE,
        max_parallel_requests=fields.whole_number("max_parallel_requests") or DEFAULT_PARALLEL_REQUESTS,
        requests_per_minute=fields.whole_number("requests_per_minute"),
        warnings=tuple(fields.warnings(EXTRA_KEYS) + ([] if verify else [_UNVERIFIED])),
    )


_UNVERIFIED: Final = (
    "'verify' is false, so whoever sits in between can read the token. "
    "Give the path of your network's CA bundle instead."
)


def _check_dialect(fields: Fields) -> None:
    dialect = fields.text("dialect", "text")
    if dialect in _DIALECTS_FOR_LATER:
        raise fields.error(
            f"extra 'dialect' is {dialect!r}, which a later release supports.",
            "Use 'published', or leave it out.",
        )
    if dialect not in (None, "published"):
        raise fields.wrong("dialect", "'published'", dialect)


def _base_url(
    fields: Fields, host: str | None, schema: str | None, port: int | None, *, allow_http: bool
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
    if scheme == "http" and not allow_http and not is_loopback(name):
        raise fields.error(
            f"plain http to {name!r} would send the token readable for everyone in between.",
            "Use https; or set 'allow_http' to true in the connection's extra, where the network is yours.",
        )
    address = f"[{name}]" if ":" in name else name
    return f"{scheme}://{address}{f':{number}' if number else ''}{prefix}"
