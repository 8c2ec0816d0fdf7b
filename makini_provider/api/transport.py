"""One pooled session, its retries and its limits: bytes in, bytes out."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from makini_provider import __version__
from makini_provider.api.auth import BearerAuth, Unsigned, token_of
from makini_provider.api.clock import ServerClock
from makini_provider.api.errors import (
    AnswerTooLargeError,
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniError,
    MakiniRateLimitError,
    MakiniUnauthorizedError,
    MalformedAnswerError,
)
from makini_provider.api.failures import failure_of_answer
from makini_provider.api.pacing import Pace
from makini_provider.api.quiet import WithheldFrames, quiet_pools

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_CONNECT_TIMEOUT = 10.0
_BODY_TIMEOUTS = 10
"""A body may take so many times the read timeout as a whole; the timeout itself counts from byte to byte."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is sent again, and how long is waited before.

    :param attempts: how often a request is sent at most
    :param base: seconds of the first wait's upper bound; it doubles with each attempt (full jitter)
    :param cap: seconds that a wait of ours has at most
    :param budget: seconds that all waits of one request may take together; a ``Retry-After`` beyond it is
        handed to the caller with the error
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    budget: float = 120.0

    def delay(self, attempt: int, error: MakiniError, *, waited: float) -> float | None:
        """Seconds to wait before the next attempt, or ``None`` to give up.

        :param attempt: which attempt has just failed, from 1
        :param error: what it failed with
        :param waited: seconds already waited for this request
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        backoff = random.uniform(0, min(self.cap, self.base * 2 ** (attempt - 1)))
        delay = backoff if error.retry_after is None else error.retry_after + random.uniform(0, self.base)
        return delay if waited + delay <= self.budget else None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a good status.

    :param status: HTTP status
    :param headers: by name, in any case
    :param body: decompressed
    :param asked_at: when the request was sent, by the server's clock
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Form:
    """A form-encoded body; an object of its own, so that recorders of errors do not show what it holds.

    :param fields: what anybody may see
    :param secrets: further fields, whose values no message repeats
    """

    fields: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """What can be set about requests.

    :param timeout: seconds to wait for the next byte of an answer
    :param verify: whether TLS is verified, or the path of a CA bundle
    :param proxies: proxy URLs by scheme, as ``requests`` takes them
    :param max_answer_bytes: size of a decompressed answer that is still taken
    :param retry: when and how often requests are repeated
    """

    timeout: float = 60.0
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    max_answer_bytes: int = 64 * 1024 * 1024
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Transport:
    """Sends requests to one base URL over one session.

    :param base_url: scheme, host and port, without a trailing slash
    :param auth: signs each attempt anew, and says whether there is another token after a 401
    :param settings: timeouts, TLS, proxies, limits, retries
    :param pace: spaces the requests of all threads
    :param pool_size: connections that are kept open
    :param sleep: waits so many seconds between attempts; replaced by tests
    """

    def __init__(
        self,
        base_url: str,
        auth: BearerAuth | Unsigned,
        settings: TransportSettings | None = None,
        *,
        pace: Pace | None = None,
        pool_size: int = 10,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = ServerClock()
        self.requests_sent = 0
        self._settings = settings or TransportSettings()
        self._pace = pace or Pace()
        self._sleep = sleep
        self.session = _session(self._settings, pool_size)
        self.sign_with(auth)

    def sign_with(self, auth: BearerAuth | Unsigned) -> None:
        """Sign requests from now on in another way.

        :param auth: may ask for its tokens over this transport
        """
        self._auth = auth
        self.session.auth = auth

    def token(self) -> str:
        """The token that requests carry now; empty where they carry none."""
        with WithheldFrames():
            return self._auth.token()

    def close(self) -> None:
        """Close the pooled connections."""
        self.session.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        json: Any = None,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
        auth: BearerAuth | Unsigned | None = None,
        repeatable: bool | None = None,
        check: Callable[[Answer], object] | None = None,
    ) -> Answer:
        """Send a request, again where that can help, and return the answer.

        A request that creates or changes something is repeated only after a 429, which says that it was
        not carried out; anything else could carry it out twice. Any request is sent once more after a 401,
        with another token, where there is one.

        :param method: HTTP method
        :param path: starts with ``/``; appended to the base URL as it is
        :param query: parameters in their order
        :param json: a body to send as JSON
        :param form: a body to send form-encoded
        :param headers: further headers
        :param auth: signs this request in place of the transport's own
        :param repeatable: whether it does no harm to send it twice; by default a GET and a HEAD do none
        :param check: looks at the answer; what it raises counts as the request's own failure
        :raises MakiniRequestError: the kind says what happened
        """
        if not path.startswith("/") or path.startswith("//"):
            raise MakiniConfigurationError(
                f"path {path!r} must start with one '/'.",
                remedy="It is appended to the connection's base URL.",
            )
        if repeatable is None:
            repeatable = method.upper() in ("GET", "HEAD")
        auth = auth or self._auth
        draft = requests.Request(
            method,
            self.base_url + path,
            headers,
            data={**form.fields, **form.secrets} if form else None,
            params=list(query),
            json=json,
            auth=auth,
        )
        with WithheldFrames():
            return self._answered(draft, path, form, auth, repeatable, check or _good)

    def _answered(
        self,
        draft: requests.Request,
        path: str,
        form: Form | None,
        auth: BearerAuth | Unsigned,
        repeatable: bool,
        check: Callable[[Answer], object],
    ) -> Answer:
        method = draft.method
        waited = 0.0
        attempt = 0
        renewed = False
        while True:
            attempt += 1
            self._pace.wait()
            # Signing may ask for a token first, with retries of its own: what that fails with is not
            # tried again here.
            request = self._prepared(draft)
            try:
                answer = self._send(request, path, form)
                check(answer)
            except MakiniUnauthorizedError:
                if renewed or not auth.renew(request):
                    raise
                renewed = True
                log.info("%s %s: the token was refused; sent once more with another one.", method, path)
            except MakiniError as error:
                if isinstance(error, MakiniRateLimitError):
                    self._pace.slower()
                may_repeat = repeatable or isinstance(error, MakiniRateLimitError)
                delay = self._settings.retry.delay(attempt, error, waited=waited) if may_repeat else None
                if delay is None:
                    raise
                log.warning("%s %s: %s Trying again in %.1f s.", method, path, error, delay)
                self._sleep(delay)
                waited += delay
            else:
                self._pace.faster()
                return answer

    def _prepared(self, draft: requests.Request) -> PreparedRequest:
        try:
            return self.session.prepare_request(draft)
        except OSError as error:
            raise _connection_error(draft.method, draft.url, error, self._settings.timeout) from error

    def _send(self, request: PreparedRequest, path: str, form: Form | None) -> Answer:
        method, url = request.method or "", request.url or ""
        started = time.monotonic()
        self.requests_sent += 1
        try:
            settings = self.session.merge_environment_settings(url, {}, True, None, None)
            with self.session.send(request, allow_redirects=False, **settings) as response:
                self.clock.observe(response.headers.get("Date"))
                body = self._body(response, started)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise _connection_error(method, url, error, self._settings.timeout) from error
        log.debug(
            "%s %s: %s in %.0f ms", method, path, response.status_code, (time.monotonic() - started) * 1000
        )
        if 200 <= response.status_code < 300:
            return Answer(response.status_code, response.headers, body, self.clock.at(started))
        raise failure_of_answer(
            method,
            path,
            response.status_code,
            response.headers,
            body,
            now=datetime.now(UTC),
            secrets=[token_of(request), *(form.secrets.values() if form else ())],
        )

    def _body(self, response: requests.Response, started: float) -> bytes:
        limit = self._settings.max_answer_bytes
        patience = self._settings.timeout * _BODY_TIMEOUTS
        body = bytearray()
        # Each read takes what is there: one that waits for a full chunk would let a body drip for hours.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > limit:
                raise AnswerTooLargeError(
                    f"the answer is larger than {limit} bytes.", remedy="Ask for smaller pages (page_size)."
                )
            if time.monotonic() > started + patience:
                raise MakiniConnectionError(
                    f"{response.request.method} {urlsplit(response.url).path}: the answer began "
                    f"and did not end within {patience:g} s.",
                    remedy="Ask for smaller pages (page_size), or raise 'timeout' in the connection's extra.",
                )
        return bytes(body)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine.

    :param host: a name or an address
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _good(answer: Answer) -> None:
    """Any answer will do."""


class _Session(requests.Session):
    """A session that does what the connection says, also where it is used directly.

    It follows no redirect, and the environment's proxies and CA bundle stand in for what the connection does
    not set, where those of ``requests`` outrank the session's own.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: Mapping[str, str] | None,
        stream: bool | None,
        verify: bool | str | None,
        cert: str | tuple[str, str] | None,
    ) -> Any:
        own = dict(proxies or self.proxies)
        host = urlsplit(url.decode() if isinstance(url, bytes) else url or "").hostname or ""
        if is_loopback(host):
            # Plain http is for this machine: through a proxy of the network, the token would be readable.
            own.setdefault("no_proxy", host)
        return super().merge_environment_settings(
            url, own, stream, self.verify if verify is None else verify, cert
        )


class _PatientAdapter(HTTPAdapter):
    """An adapter that never waits without a limit, also where the session is used directly."""

    def __init__(self, timeout: float, pool_size: int) -> None:
        self._timeout = (min(_CONNECT_TIMEOUT, timeout), timeout)
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = quiet_pools(self.poolmanager.pool_classes_by_scheme)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = quiet_pools(manager.pool_classes_by_scheme)
        return manager

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return super().send(request, stream, timeout or self._timeout, verify, cert, proxies)


def _session(settings: TransportSettings, pool_size: int) -> requests.Session:
    session = _Session()
    session.verify = settings.verify
    session.proxies.update(settings.proxies)
    session.headers.update(
        {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"airflow-provider-makini/{__version__}",
        }
    )
    # A token says who asks; a cookie would only make requests of several threads depend on each other.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _PatientAdapter(settings.timeout, pool_size)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _connection_error(method: str, url: str, error: Exception, timeout: float) -> MakiniError:
    host = urlsplit(url).netloc.rpartition("@")[2]
    what = f"{method} {urlsplit(url).path} on {host}"
    if isinstance(error, urllib3.exceptions.DecodeError):
        return MalformedAnswerError(f"{what}: the body is not compressed as its header says.")
    if isinstance(error, requests.exceptions.SSLError):
        return MakiniConnectionError(
            f"{what}: the TLS connection failed ({_root_cause(error)}).",
            remedy="Check the host, this machine's clock, and 'verify' in the connection's extra "
            "(the path of a CA bundle, where your network has one of its own).",
        )
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return MakiniConnectionError(
            f"{what}: no answer within {timeout:g} s.",
            remedy="Where answers really take longer, raise 'timeout' in the connection's extra.",
        )
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        # What happens on the network comes as the other kinds; this is a file.
        return MakiniConfigurationError(
            f"{what}: {error}.", remedy="Check 'verify' in the connection's extra."
        )
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return MakiniConfigurationError(
            f"{what}: the payload can't be written as JSON.", remedy="JSON knows no NaN and no infinity."
        )
    if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
        return MakiniConfigurationError(
            f"{what}: the URL, a header or the proxy can't be used ({type(error).__name__}).",
            remedy="Check the connection's host, and any proxy.",
        )
    return MakiniConnectionError(
        f"{what}: no connection, or it was cut off ({_root_cause(error)}).",
        remedy="Check the connection's host and port, name lookup, and any proxy.",
    )


def _root_cause(error: BaseException) -> str:
    """The kind of what went wrong at the bottom, such as ``ConnectionRefusedError``."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        inner = [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
        cause = next((item for item in inner if isinstance(item, BaseException) and item not in seen), None)
    return type(seen[-1]).__name__
