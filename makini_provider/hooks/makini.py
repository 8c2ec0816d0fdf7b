"""The hook: an Airflow connection of type ``makini`` as a client of its API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from threading import RLock
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from makini_provider.api.auth import Unsigned
from makini_provider.api.causes import WayIn
from makini_provider.api.client import MakiniClient
from makini_provider.api.diagnosis import Diagnosis
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniError,
    MakiniForbiddenError,
    MakiniStatusError,
    MakiniUnauthorizedError,
    UnknownConnectionError,
    UnusableTokenError,
)
from makini_provider.api.pacing import Pace
from makini_provider.api.quiet import WithheldFrames
from makini_provider.api.resources import Resource, get_resource
from makini_provider.api.token_pair import TokenStore
from makini_provider.api.transport import RetryPolicy, Transport
from makini_provider.hooks.connection import CONNECTION_TYPE, ConnectionSettings, read_settings
from makini_provider.hooks.credentials import ApiToken, ClientCredentials, RefreshToken, pair_keeper, sign
from makini_provider.hooks.http_face import HttpFace
from makini_provider.hooks.walk import filter_texts, walk


class MakiniHook(HttpFace):
    """Reads and writes through one Makini connection.

    It is an ``HttpHook`` by type, so that what takes one takes this, and none of its public methods is
    inherited: those send unknown keys of ``extra`` as headers, wait without a limit, follow redirects, look
    the connection up at each call and lose the answer's status.

    Nothing is looked up or sent before it is needed; the connection is looked up once. Close the hook, or use
    it as a context manager, to close its pooled connections.

    :param makini_conn_id: an Airflow connection of type ``makini``
    :param makini_connection: which of an application's connections is meant, by its id; takes the place of
        the one in the connection's extra
    :param method: HTTP method of :meth:`run`
    :param http_hook_options: what ``HttpOperator`` gives to any hook (``tcp_keep_alive`` and the like): it
        has no effect
    :raises MakiniConfigurationError: a parameter can't be used
    """

    conn_name_attr = "makini_conn_id"
    default_conn_name = "makini_default"
    conn_type = CONNECTION_TYPE
    hook_name = "Makini"

    def __init__(
        self,
        makini_conn_id: str = default_conn_name,
        makini_connection: str | None = None,
        *,
        method: str = "GET",
        **http_hook_options: Any,
    ) -> None:
        super().__init__(method, http_hook_options)
        self.makini_conn_id = makini_conn_id
        self.makini_connection = makini_connection or None
        self._forget()

    def _forget(self) -> None:
        self._lock = RLock()
        self._settings: ConnectionSettings | None = None
        self._client: MakiniClient | None = None
        self._secrets: set[str] = set()

    def __repr__(self) -> str:
        named = f" {self.makini_connection!r}" if self.makini_connection else ""
        return f"<MakiniHook {self.makini_conn_id!r}{named}>"

    def __getstate__(self) -> dict[str, Any]:
        # Settings hold the token: a pickled hook looks it up again where it is used.
        return {key: value for key, value in self.__dict__.items() if key not in _NOT_KEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections; the hook can be used again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.transport.close()

    @property
    def settings(self) -> ConnectionSettings:
        """What the connection says, looked up at the first use.

        :raises MakiniConfigurationError: there is no such connection, or a field of it is unusable
        """
        with self._lock:
            if self._settings is None:
                with WithheldFrames():
                    self._settings = self._looked_up()
            return self._settings

    @property
    def client(self) -> MakiniClient:
        """The client of the API, made at the first use."""
        with self._lock:
            if self._client is None:
                self._client = self._connected(self.settings)
            return self._client

    def _looked_up(self) -> ConnectionSettings:
        conn_id = self.makini_conn_id
        try:
            connection = self.get_connection(conn_id)
        except AirflowNotFoundException:
            raise UnknownConnectionError(
                f"connection {conn_id!r} (makini_conn_id) does not exist, or can't be read now.",
                remedy="Add it in the UI (Admin, Connections, type Makini), as the environment variable "
                f"AIRFLOW_CONN_{conn_id.upper()}, or in your secrets backend. Where it is there: Airflow "
                "says the same when the backend does not answer, or holds no valid connection.",
            ) from None
        self._hide(connection.password)
        if connection.conn_type and connection.conn_type != CONNECTION_TYPE:
            # The password of another system would go out as a token.
            raise MakiniConfigurationError(
                f"connection {conn_id!r} is of type {connection.conn_type!r}, not {CONNECTION_TYPE!r}.",
                remedy="Give makini_conn_id a connection of type Makini.",
            )
        settings = read_settings(
            conn_id=conn_id,
            host=connection.host,
            schema=connection.schema,
            port=connection.port,
            login=connection.login,
            password=connection.password,
            extra=connection.extra,
            makini_connection=self.makini_connection,
        )
        if isinstance(settings.credentials, RefreshToken):
            self._hide(settings.credentials.seed)
        for proxy in settings.transport.proxies.values():
            self._hide(unquote(urlsplit(proxy if "://" in proxy else f"//{proxy}").password or ""))
        for warning in settings.warnings:
            self.log.warning("Connection %r: %s", conn_id, warning)
        return settings

    def _connected(self, settings: ConnectionSettings, *, patient: bool = True) -> MakiniClient:
        """Make a client.

        :param patient: whether answers are waited for, requests repeated and refresh tokens spent as a task
            wants it; else as somebody does who looks whether a connection works
        """
        transport = _transport(settings, patient=patient)
        sign(
            transport,
            settings.credentials,
            conn_id=self.makini_conn_id,
            open_store=self._open_store,
            tell=self._hide,
            may_refresh=patient,
        )
        return MakiniClient(
            transport, page_size=settings.page_size, max_parallel_requests=settings.max_parallel_requests
        )

    def _hide(self, secret: str | None) -> None:
        """Keep a secret out of all logs from here on, also as it would stand in a URL."""
        if secret:
            self._secrets.add(secret)
            mask_secret(secret)
            mask_secret(quote(secret, safe=""))

    def _open_store(self, uri: str) -> TokenStore:
        from makini_provider.hooks.token_stores import open_token_store

        return open_token_store(uri, conn_id=self.makini_conn_id)

    # What the API has.

    def list_records(
        self,
        resource: str | Resource,
        *,
        updated_since: datetime | None = None,
        updated_before: datetime | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Read a list, page after page, and give its records one by one.

        Arguments are checked at the call, requests are sent as records are taken.

        :param resource: such as ``eam/work-orders``
        :param updated_since: only what was modified at this time or later; with a time zone
        :param updated_before: only what was modified before this time; with a time zone
        :param filters: values by field, or by ``field:op`` with an operator of the API
        """
        return walk(
            self.client, _resource(resource), since=updated_since, before=updated_before, filters=filters
        )

    def count_records(self, resource: str | Resource, filters: Mapping[str, Any] | None = None) -> int | None:
        """How many records a list has; ``None`` where the API does not say.

        :param resource: such as ``eam/work-orders``
        :param filters: values by field, or by ``field:op``
        """
        return self.client.count(_resource(resource), filter_texts(filters))

    def get_record(self, resource: str | Resource, key: str) -> dict[str, Any]:
        """Fetch one record.

        :param resource: such as ``eam/work-orders``
        :param key: the record's ``key``
        :raises MakiniNotFoundError: there is none of this key
        """
        return self.client.get_record(_resource(resource), key)

    def create_record(self, resource: str | Resource, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Create a record and return it as the API has it then.

        :param resource: such as ``eam/work-orders``
        :param payload: its fields; which are required depends on the connected system
        """
        return self.client.create_record(_resource(resource), payload)

    def update_record(self, resource: str | Resource, key: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Change a record and return it as the API has it then.

        :param resource: such as ``eam/work-orders``
        :param key: the record's ``key``
        :param payload: the fields to change
        """
        return self.client.update_record(_resource(resource), key, payload)

    def get_integration(self) -> dict[str, Any]:
        """Whose data it is, and how far Makini's own synchronisation with the connected system is.

        Empty where the connection does not tell.
        """
        return dict(self.client.integration().details)

    @property
    def serves_many(self) -> bool:
        """Whether the connection is an application's and none of its Makini connections is named."""
        return isinstance(self.settings.credentials, ClientCredentials) and self._named is None

    def list_connections(self) -> list[dict[str, Any]]:
        """The connections that the token may see; an API token of one connection mostly sees none."""
        return self.client.connections()

    def rotate_tokens(self) -> dict[str, Any] | None:
        """Replace the pair of a refresh token ahead of time: once half of its access token's life is over.

        :return: what is kept then (``token_store``, ``refreshed``, ``obtained_at``, ``age_days``,
            ``expires_at``, ``days_left``), never a token; ``None`` where the connection has no such pair
        :raises RefreshTokenRefusedError: the system must be connected to Makini again
        :raises TokenStoreError: the store can't be read or written
        """
        credentials = self.settings.credentials
        if not isinstance(credentials, RefreshToken):
            return None
        keeper = pair_keeper(
            self.client.transport,
            credentials,
            conn_id=self.makini_conn_id,
            open_store=self._open_store,
            tell=self._hide,
        )
        with WithheldFrames():
            return keeper.rotate().report()

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection with two small requests, as the button in the UI does; more where it is refused.

        ``airflow makini check`` looks at more.

        :return: whether it works, and what was found or what to do
        """
        from makini_provider.hooks.trial import try_out, try_out_application

        try:
            self.settings  # noqa: B018  (looked up at the first use)
        except MakiniError as error:
            return False, str(error)
        with self.impatient_client() as client:
            try:
                works, message = try_out_application(client) if self.serves_many else try_out(client)
            except (MakiniUnauthorizedError, MakiniForbiddenError) as refused:
                works, message = False, f"HTTP {refused.status}: {self.diagnose(refused).short}"
            except MakiniError as error:
                works, message = False, str(error)
        # The message may repeat what the server said, and the server what it was sent.
        return works, self.redacted(message)

    @contextmanager
    def impatient_client(self) -> Iterator[MakiniClient]:
        """A client for somebody who looks whether the connection works.

        It waits for nothing long, and spends no refresh token. Leaving the block closes it.
        """
        client = self._connected(self.settings, patient=False)
        try:
            yield client
        finally:
            client.transport.close()

    def redacted(self, text: str) -> str:
        """A text without the connection's secrets, for where no log masks them.

        :param text: what may hold one
        """
        for secret in self._secrets:
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text

    def diagnose(self, failure: MakiniStatusError | None = None) -> Diagnosis:
        """Find out why the API refuses this connection, whose fault it is and what to do.

        It sends half a dozen requests at most, waits for none of them long, and asks for no new token.

        :param failure: the refusal that is to be explained; without one it is asked whether there is any
        :raises MakiniConfigurationError: the connection can't be used, for another reason than its token
        """
        from makini_provider.api.probing import diagnose, diagnose_unsent

        try:
            self.settings  # noqa: B018  (looked up at the first use)
        except UnusableTokenError as error:
            return diagnose_unsent(self._source, error.shape)
        with self.impatient_client() as client:
            return diagnose(
                client,
                source=self._source,
                token=client.transport.token,
                failure=failure,
                connections=client.connections,
                connection_id=self._named,
                way_in=_WAYS_IN[type(self.settings.credentials)],
            )

    @property
    def _source(self) -> str:
        """Whose data it is, in words."""
        return "/".join(filter(None, (self.makini_conn_id, self.makini_connection)))

    @property
    def _named(self) -> str | None:
        """The Makini connection that is meant, where one is named."""
        credentials = self.settings.credentials
        return credentials.makini_connection if isinstance(credentials, ClientCredentials) else None


_WAYS_IN: Final[dict[type, WayIn]] = {
    ApiToken: "token",
    ClientCredentials: "client_credentials",
    RefreshToken: "refresh_token",
}
_NOT_KEPT: Final = frozenset(["_lock", "_settings", "_client", "_secrets"])


def _resource(resource: str | Resource) -> Resource:
    return resource if isinstance(resource, Resource) else get_resource(resource)


def _transport(settings: ConnectionSettings, *, patient: bool) -> Transport:
    """The transport of a connection, not signed yet; ``patient`` as in ``MakiniHook._connected``."""
    transport = settings.transport
    if not patient:
        transport = replace(
            transport, timeout=min(transport.timeout, 20.0), retry=RetryPolicy(attempts=2, budget=5.0)
        )
    return Transport(
        settings.base_url,
        Unsigned(),
        transport,
        pace=Pace(settings.requests_per_minute),
        pool_size=max(settings.max_parallel_requests, 1),
    )
