"""What an ``HttpHook`` has, done by the client: its transport, retries, limits and errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from airflow.providers.http.hooks.http import HttpHook
from requests import Response, Session

from makini_provider.api.auth import BearerAuth
from makini_provider.api.client import MakiniClient
from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.hooks.connection import ConnectionSettings
from makini_provider.hooks.exchange import check, endpoint_path, send


class HttpFace(HttpHook):
    """An ``HttpHook`` by type; its public methods are replaced, and its state is not made.

    Three attributes can be set there; here they follow from the connection.

    :param method: HTTP method of :meth:`run`
    :param options: what else an ``HttpHook`` is given; it has no effect
    :raises MakiniConfigurationError: an option can't be used
    """

    makini_conn_id: str
    default_host = ""
    default_headers: dict[str, str] = {}  # noqa: RUF012  (as the base class declares it; stays empty)

    def __init__(self, method: str, options: Mapping[str, Any]) -> None:
        # HttpHook's own __init__ makes adapters and state that only its own methods use.
        super(HttpHook, self).__init__()
        _check_options(options)
        self.method = method.upper()

    @property
    @abstractmethod
    def settings(self) -> ConnectionSettings:
        """What the connection says."""

    @property
    @abstractmethod
    def client(self) -> MakiniClient:
        """The client of the API."""

    @property
    def http_conn_id(self) -> str:  # type: ignore[override]
        """The connection's id, by the name that an ``HttpHook`` has for it."""
        return self.makini_conn_id

    @property
    def base_url(self) -> str:  # type: ignore[override]
        """Scheme, host, port and path prefix, without a trailing slash."""
        return self.settings.base_url

    @property  # type: ignore[misc]
    def auth_type(self) -> type[BearerAuth]:
        """How requests are signed; it can't be replaced."""
        return BearerAuth

    def get_conn(
        self, headers: Mapping[str, Any] | None = None, extra_options: Mapping[str, Any] | None = None
    ) -> Session:
        """The authenticated session that all requests of this hook go through.

        It signs requests to the connection's host, refuses all others, and never waits without a limit;
        errors and retries are the caller's. :meth:`run` does these too.

        :param headers: not supported: the session is shared
        :param extra_options: not supported: they are the connection's
        """
        if headers or extra_options:
            raise MakiniConfigurationError(
                "get_conn() gives the hook's one session and takes no headers or extra_options.",
                remedy="Give headers with each request; set timeout, verify and proxies in the connection.",
            )
        return self.client.transport.session

    def run(
        self,
        endpoint: str | None = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        extra_options: Mapping[str, Any] | None = None,
        **request_kwargs: Any,
    ) -> Response:
        """Send a request to any path of the API and return the answer.

        It is retried, paced and limited like every request of the hook; an answer that is no success is a
        typed error.

        :param endpoint: path below the base URL, such as ``/api/eam/sites``, a query included or not
        :param data: of a GET the query, as a mapping or pairs; else the JSON body, as an object or its text
        :param headers: further headers
        :param extra_options: ``check_response`` true and ``allow_redirects`` false are accepted, being what
            happens anyway
        :param request_kwargs: ``params`` and ``json``, as ``requests`` takes them
        :raises MakiniRequestError: the kind says what happened
        """
        return send(
            self.client.transport,
            self.method,
            endpoint,
            data=data,
            headers=headers,
            extra_options=extra_options,
            request_kwargs=request_kwargs,
        )

    def run_with_advanced_retry(self, _retry_args: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
        """:meth:`run`, repeated by ``tenacity`` on top of the hook's own retries.

        :param _retry_args: arguments of ``tenacity.Retrying``
        """
        from tenacity import Retrying

        return Retrying(**_retry_args)(self.run, *args, **kwargs)

    def run_and_check(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Not supported: a request that was prepared elsewhere passes by this hook's limits and retries."""
        raise MakiniConfigurationError(
            "run_and_check() is not supported by MakiniHook.",
            remedy="Use run(endpoint, …); or the session of get_conn(), and check_response().",
        )

    def check_response(self, response: Response) -> None:
        """Raise the typed error of an answer that is no success.

        :param response: such as the session of :meth:`get_conn` gives
        :raises MakiniRequestError: the kind says what happened
        """
        check(response)

    def url_from_endpoint(self, endpoint: str | None) -> str:
        """The URL of a path below the base URL.

        :param endpoint: such as ``/api/eam/sites``
        """
        return self.base_url + endpoint_path(endpoint)


_WITHOUT_EFFECT: Final = frozenset(
    ["tcp_keep_alive", "tcp_keep_alive_idle", "tcp_keep_alive_count", "tcp_keep_alive_interval"]
)
_REPLACING_OURS: Final = frozenset(["auth_type", "adapter"])


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name in _REPLACING_OURS and value is not None:
            raise MakiniConfigurationError(
                f"{name} can't be set: MakiniHook signs and sends requests in its own way.",
                remedy=f"Leave {name} out.",
            )
        if name not in _WITHOUT_EFFECT | _REPLACING_OURS:
            raise TypeError(f"MakiniHook got an unexpected keyword argument {name!r}")
