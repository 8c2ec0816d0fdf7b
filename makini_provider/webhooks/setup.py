"""Endpoints, inbox and receiver as environment and Airflow connections describe them."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import URL

from makini_provider.api.errors import UnknownConnectionError
from makini_provider.webhooks.inbox import Inbox
from makini_provider.webhooks.limiter import Limiter
from makini_provider.webhooks.receiver import Receiver
from makini_provider.webhooks.settings import Endpoint, WebhookSettings, connection_of, read_endpoint


def make_receiver(*, prefix: str = "/makini", limited: bool = False) -> Receiver:
    """Make the receiver that the environment describes; nothing is looked up or opened yet.

    :param prefix: of its paths, empty where it is mounted below one
    :param limited: with a limiter, where another application has a claim to the process
    :raises MakiniConfigurationError: a setting can't be used
    """
    settings = WebhookSettings.from_environment()
    return Receiver(
        settings,
        open_inbox=partial(open_inbox, settings),
        find_endpoint=find_endpoint,
        prefix=prefix,
        limiter=Limiter(settings.plugin_rate) if limited else None,
    )


def find_endpoint(name: str) -> Endpoint:
    """Look up what an endpoint is bound to.

    Within Airflow's processes that is any connection. A receiver that stands alone sees those of its
    environment and of the secrets backend that it has set up, and has no need of Airflow's database.

    :raises UnknownConnectionError: there is no such connection, or a secrets backend is down: Airflow
        does not tell which
    :raises MakiniConfigurationError: something in it can't be used
    """
    connection = _connection(connection_of(name), "holds an endpoint's secret and what it is bound to")
    return read_endpoint(name, password=connection.password, extra=connection.extra)


def open_inbox(settings: WebhookSettings) -> Inbox:
    """Open the inbox that the settings name, which may be an Airflow connection.

    :raises MakiniConfigurationError: there is no such connection, or it can't hold an inbox
    :raises MakiniInboxError: the database can't be reached
    """
    return Inbox(_inbox_url(settings.inbox), max_attempts=settings.max_attempts)


def _inbox_url(inbox: str) -> str | URL:
    if "://" in inbox:
        return inbox
    connection = _connection(inbox, "names the inbox's database (MAKINI_WEBHOOK_INBOX)")
    kind = {"postgres": "postgresql"}.get(connection.conn_type or "", connection.conn_type or "")
    if kind == "sqlite":
        # As Airflow's own SqliteHook has it: the host is the file's path.
        return URL.create("sqlite", database=connection.host or connection.schema)
    options = {
        name: str(value)
        for name, value in connection.extra_dejson.items()
        if name.startswith("ssl") or name in ("options", "application_name", "target_session_attrs")
    }
    return URL.create(
        kind,
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query=options,
    )


def _connection(conn_id: str, what: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise UnknownConnectionError(
            f"there is no Airflow connection {conn_id!r}, which {what}.",
            remedy=f"Define it in the environment (AIRFLOW_CONN_{conn_id.upper()}) or in your secrets "
            "backend, and see that the backend answers. A receiver that stands alone does not see the "
            "connections of Airflow's UI.",
        ) from None
