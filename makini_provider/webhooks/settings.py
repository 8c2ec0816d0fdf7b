"""Settings of the receiver and of its endpoints; knows no Airflow itself.

Makini's data events name neither a connection nor a domain: what an endpoint is bound to says whose events
come in there. It is kept in an Airflow connection for each endpoint, since a secret is part of it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.resources import catalogue
from makini_provider.destinations.uri import check_destination
from makini_provider.sync.streams import Source
from makini_provider.webhooks.signature import ENCODINGS, Encoding

DEFAULT_HEADER: Final = "X-Webhook-Signature"
CONNECTION_PREFIX: Final = "makini_webhook_"
MIB: Final = 1024 * 1024

ENDPOINT_KEYS: Final = (
    "destination",
    "domains",
    "encoding",
    "event_id",
    "header",
    "previous_secret",
    "sources",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a path of the receiver is bound to.

    :param name: last part of its path
    :param secrets: with one of which its webhooks are signed: the current one, then the previous one
    :param header: that has the signature
    :param encoding: of the signature
    :param event_id: where the payload has its event id, if elsewhere than usual
    :param sources: whose events come in
    :param domains: where their resources are
    :param destination: where the syncs of these sources land, if it is not ``MAKINI_DESTINATION``
    """

    name: str
    secrets: tuple[bytes, ...] = field(repr=False)
    header: str = DEFAULT_HEADER
    encoding: Encoding = "base64"
    event_id: str | None = None
    sources: tuple[Source, ...] = ()
    domains: tuple[str, ...] = ()
    destination: str | None = None


def connection_of(endpoint: str) -> str:
    """The id of the Airflow connection that binds an endpoint."""
    return f"{CONNECTION_PREFIX}{endpoint}"


def read_endpoint(
    name: str, *, password: str | None = None, extra: str | Mapping[str, Any] | None = None
) -> Endpoint:
    """Read what an endpoint's connection says.

    :param name: of the endpoint
    :param password: the secret that Makini signs with
    :param extra: the connection's, a JSON object, as text or parsed
    :raises MakiniConfigurationError: names the field, what is wrong with it, and the way out
    """
    fields = _Fields(connection_of(name), extra)
    # A file that a secret was read from may end with a line break.
    password = (password or "").strip()
    if not password:
        raise fields.error(
            "there is no secret, so that nothing could be told from a forgery.",
            "Put the webhook's secret into the connection's password.",
        )
    encoding = fields.text("encoding") or "base64"
    if encoding not in ENCODINGS:
        raise fields.error(f"extra 'encoding' is {encoding[:20]!r}.", f"Use one of {', '.join(ENCODINGS)}.")
    header = fields.text("header") or DEFAULT_HEADER
    if not re.fullmatch(r"[A-Za-z0-9-]+", header):
        raise fields.error("extra 'header' is no name of a header.", f"Write it like {DEFAULT_HEADER}.")
    domains = fields.names("domains")
    known = sorted({resource.domain for resource in catalogue().values()})
    if not set(domains) <= set(known):
        raise fields.error(
            f"extra 'domains' is {', '.join(domains)[:80]!r}.", f"There are: {', '.join(known)}."
        )
    destination = fields.text("destination")
    if destination is not None:
        try:
            check_destination(destination)
        except MakiniConfigurationError as error:
            raise fields.error(error.message, error.remedy) from error
    return Endpoint(
        name=name,
        secrets=tuple(
            secret.encode() for secret in (password, fields.text("previous_secret")) if secret is not None
        ),
        header=header.lower(),
        encoding=encoding,
        event_id=fields.text("event_id"),
        sources=tuple(_source(text) for text in fields.names("sources")),
        domains=domains,
        destination=destination,
    )


def _source(text: str) -> Source:
    conn_id, _, makini_connection = text.partition("@")
    return Source(conn_id.strip(), makini_connection.strip() or None)


class _Fields:
    """The values of ``extra``; errors name the connection and never show a value that could be a secret."""

    def __init__(self, conn_id: str, extra: str | Mapping[str, Any] | None) -> None:
        self._conn_id = conn_id
        try:
            parsed = json.loads(extra) if isinstance(extra, str) and extra.strip() else extra or {}
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, Mapping):
            raise self.error("extra must be a JSON object.", 'Write it as {"sources": ["makini_default"]}.')
        self._extra = parsed
        for key in parsed:
            if key not in ENDPOINT_KEYS:
                near = get_close_matches(str(key).lower(), ENDPOINT_KEYS, n=1)
                meant = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(ENDPOINT_KEYS)}."
                # A misspelt 'previous_secret' or 'sources' would lose events in silence.
                raise self.error(f"extra {key!r} is not known.", meant)

    def error(self, what: str, remedy: str) -> MakiniConfigurationError:
        return MakiniConfigurationError(f"connection {self._conn_id!r}: {what}", remedy=remedy)

    def text(self, key: str) -> str | None:
        value = self._extra.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.error(f"extra {key!r} must be text.", "Correct it in the connection's extra.")
        return value.strip() or None

    def names(self, key: str) -> tuple[str, ...]:
        value = self._extra.get(key) or []
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
            raise self.error(
                f"extra {key!r} must be a list of names.", 'Write it as ["one", "two"], or "one, two".'
            )
        return tuple(name.strip() for name in value if name.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Settings of the receiver and the inbox, each with a default.

    :param endpoints: names of the endpoints; each has a connection ``makini_webhook_<name>``
        (``MAKINI_WEBHOOK_ENDPOINTS``, comma-separated)
    :param inbox: the inbox's database: an Airflow connection or a URL (``MAKINI_WEBHOOK_INBOX``)
    :param max_bytes: of a body (``MAKINI_WEBHOOK_MAX_BYTES``)
    :param body_seconds: that a body may take to come in (``MAKINI_WEBHOOK_BODY_SECONDS``)
    :param cache_seconds: for which what the connections say is kept (``MAKINI_WEBHOOK_CACHE_SECONDS``)
    :param max_attempts: after which an event is dead (``MAKINI_WEBHOOK_MAX_ATTEMPTS``)
    :param retention: how long finished events are kept and their ids known
        (``MAKINI_WEBHOOK_RETENTION_DAYS``)
    :param plugin: whether the api-server receives webhooks too (``MAKINI_WEBHOOK_PLUGIN``)
    :param plugin_rate: requests a second that it looks at, at most (``MAKINI_WEBHOOK_PLUGIN_RATE``)
    """

    endpoints: tuple[str, ...]
    inbox: str = field(repr=False)  # a URL may hold a password
    max_bytes: int = MIB
    body_seconds: float = 5.0
    cache_seconds: float = 30.0
    max_attempts: int = 10
    retention: timedelta = timedelta(days=14)
    plugin: bool = False
    plugin_rate: float = 20.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> WebhookSettings:
        """Read the settings from environment variables.

        :raises MakiniConfigurationError: names the variable, its value and the way out
        """
        home = Path(environment.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
        return cls(
            endpoints=_endpoint_names(environment.get("MAKINI_WEBHOOK_ENDPOINTS")),
            inbox=environment.get("MAKINI_WEBHOOK_INBOX") or f"sqlite:///{home}/makini-inbox.db",
            max_bytes=int(_number(environment, "MAKINI_WEBHOOK_MAX_BYTES", MIB)),
            body_seconds=_number(environment, "MAKINI_WEBHOOK_BODY_SECONDS", 5),
            cache_seconds=_number(environment, "MAKINI_WEBHOOK_CACHE_SECONDS", 30),
            max_attempts=int(_number(environment, "MAKINI_WEBHOOK_MAX_ATTEMPTS", 10)),
            retention=timedelta(days=_number(environment, "MAKINI_WEBHOOK_RETENTION_DAYS", 14)),
            plugin=_flag(environment, "MAKINI_WEBHOOK_PLUGIN"),
            plugin_rate=_number(environment, "MAKINI_WEBHOOK_PLUGIN_RATE", 20),
        )


def _endpoint_names(text: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    for name in names:
        # They stand in a path and in the id of a connection.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise MakiniConfigurationError(
                f"MAKINI_WEBHOOK_ENDPOINTS: {name[:80]!r} can't be the name of an endpoint.",
                remedy="Use letters, digits, '_' and '-'.",
            )
    return names


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise MakiniConfigurationError(
            f"{name} is {text!r}.", remedy=f"Set it to a number such as {default:g}."
        )
    return number


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = (environment.get(name) or "false").strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise MakiniConfigurationError(f"{name} is {text!r}.", remedy="Set it to true or false.")
    return text in ("true", "1")
