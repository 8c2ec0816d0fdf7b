"""The sandbox as a running server: in a thread, on a free port of the loopback interface."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import uvicorn

from .app import Api, make_app
from .behaviour import Behaviour
from .oauth import Authority
from .store import Store
from .tenants import Tenants
from .webhooks import Webhooks, WebhookSettings

#: What the token says of itself: {"alg":"none"}, {"sub":"makini-sandbox","exp":4102444800}: the year 2100.
DEFAULT_TOKEN = (
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJtYWtpbmktc2FuZGJveCIsImV4cCI6NDEwMjQ0NDgwMH0.sandbox"  # noqa: S105
)

_PATIENCE_SECONDS = 10.0


def check_loopback(host: str) -> None:
    """Raise ValueError for a host that others could reach: data and token are no secret here."""
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"host {host!r}: the sandbox listens on loopback only, such as 127.0.0.1")


class Sandbox:
    """
    A Makini API on this machine, with invented data. Use it as a context manager, or start and stop it.

    :param token: the bearer token that requests need; can be changed while the sandbox runs.
    :param host: a loopback address.
    :param port: 0 for a free one.
    :param seed: other seed, other data.
    :param records: about how many work orders there are; other lists in proportion.
    :param days: how far the data goes back.
    :param now: the time on the server's clock; the real time when not given.
    :param max_per_page: larger pages are cut to this size silently.
    :param behaviour: faults and oddities, none by default.
    :param webhooks: where webhooks go, and how; by default none are sent.
    """

    def __init__(
        self,
        *,
        token: str = DEFAULT_TOKEN,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        records: int = 1500,
        days: float = 120,
        now: datetime | None = None,
        max_per_page: int = 500,
        behaviour: Behaviour | None = None,
        webhooks: WebhookSettings | None = None,
    ) -> None:
        check_loopback(host)
        size: dict[str, Any] = {"records": records, "days": days, "max_per_page": max_per_page}
        self.store = Store(seed=seed, now=now, behaviour=behaviour, **size)

        def make(number: int, company: str) -> Store:
            other = Store(
                seed=seed + number,
                clock=self.store.clock,
                company=company,
                behaviour=self.store.behaviour,
                **size,
            )
            other.base_url = self.store.base_url
            return other

        #: The connections of the application, each with data of its own.
        self.tenants = Tenants(self.store, make)
        #: Gives tokens, and knows which are good.
        self.authority = Authority(token, next(iter(self.tenants.connections)), self.store.clock)
        #: Sends a webhook of each change.
        self.webhooks = Webhooks(webhooks)
        self.store.on_change = self.webhooks.announce
        self._api = Api(self.tenants, self.authority, self.webhooks)
        self.behave(behaviour)
        self._address = (host, port)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the server is, such as ``http://127.0.0.1:8765``; known once it has started."""
        return self.store.base_url

    @property
    def token(self) -> str:
        """The token that requests need."""
        return self.authority.token

    @token.setter
    def token(self, token: str) -> None:
        self.authority.token = token

    @property
    def requests(self) -> Sequence[dict[str, Any]]:
        """The requests to ``/api`` and ``/link`` so far: method, path, query, headers (no token), fault."""
        return list(self._api.requests)

    def forget_requests(self) -> None:
        """Begin to count requests from here on."""
        self._api.requests.clear()

    def behave(self, behaviour: Behaviour | None = None) -> None:
        """Behave in another way from now on; well, when none is given."""
        self._api.behave(behaviour or Behaviour())

    def start(self) -> Self:
        """Start, and return once connections are accepted."""
        listener = _listen(*self._address)
        host, port = listener.getsockname()[:2]
        self.store.base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            make_app(self._api),
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,  # the app sends it, by the store's clock
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="makini-sandbox", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                listener.close()
                raise RuntimeError(f"the sandbox did not start at {self.url}")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop; connections that are open are closed."""
        self.webhooks.stop()
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_PATIENCE_SECONDS)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
