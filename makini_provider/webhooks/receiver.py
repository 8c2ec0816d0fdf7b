"""The receiver: an ASGI application that keeps what is authentic, and does nothing else before it answers.

It is written to ASGI itself: a body must be counted while it comes in, given up when it takes too long, and
compared as the bytes that it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

from makini_provider.api.errors import MakiniError
from makini_provider.webhooks import metrics
from makini_provider.webhooks.endpoints import Endpoints
from makini_provider.webhooks.envelope import open_envelope
from makini_provider.webhooks.inbox import Counts, Inbox, Received, Tally
from makini_provider.webhooks.intake import Intake
from makini_provider.webhooks.limiter import Limiter
from makini_provider.webhooks.settings import Endpoint, WebhookSettings
from makini_provider.webhooks.signature import is_authentic

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODIES_IN_MEMORY: Final = 64
"""Bodies that are coming in share the memory of so many of the longest."""

_SECONDS_BETWEEN_REPORTS: Final = 10.0
_SECONDS_BETWEEN_LINES: Final = 30.0
_MOST_LINES: Final = 100
_SECONDS_OF_HEALTH: Final = 5.0
_RETRY_AFTER: Final = b"30"


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """A request that is not taken in.

    :param status: of the answer
    :param reason: what is counted
    :param allowed: the methods that are, where it is about those
    """

    def __init__(self, status: int, reason: str, *, allowed: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.allowed = allowed


class Gone(Exception):  # noqa: N818 - nobody is left to be answered
    """The sender has hung up."""


class Receiver:
    """Takes webhooks in at ``POST <prefix>/webhooks/<endpoint>``; ``GET <prefix>/health`` tells how it goes.

    :param settings: of the receiver
    :param open_inbox: opens the inbox; called in a thread
    :param find_endpoint: looks up what an endpoint is bound to; called in a thread
    :param prefix: of its paths, empty where it is mounted below one
    :param limiter: where another application has a claim to the process
    """

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        open_inbox: Callable[[], Inbox],
        find_endpoint: Callable[[str], Endpoint],
        prefix: str = "/makini",
        limiter: Limiter | None = None,
    ) -> None:
        self._settings = settings
        self._prefix = prefix
        self._limiter = limiter
        self._intake = Intake(open_inbox)
        self._endpoints = Endpoints(settings.endpoints, find_endpoint, seconds=settings.cache_seconds)
        # In place of an endpoint that there is not: nothing is signed with its secret, and finding that out
        # takes as long as with any other.
        self._nobody = Endpoint(name="", secrets=(secrets.token_bytes(32),))
        self._started = False
        self._bytes_in_memory = 0
        self._ledger = _Ledger(self._intake)
        self._health: tuple[float, Counts | None] = (-_SECONDS_OF_HEALTH, None)
        self._looking = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    # From start to end

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except MakiniError as error:
                    if not error.retryable:
                        await send({"type": "lifespan.startup.failed", "message": str(error)})
                        return
                    log.error("%s Until then webhooks are answered 503.", error)  # noqa: TRY400
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._ledger.report()
                await self._intake.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _start(self) -> None:
        """Say what is odd before the first webhook; where nobody says that it starts, with the first."""
        self._started = True
        if not self._settings.endpoints:
            log.error("MAKINI_WEBHOOK_ENDPOINTS names no endpoint: every webhook is refused (401).")
        await asyncio.to_thread(metrics.initialize)
        await self._endpoints.read()
        inbox = await self._intake.open()
        if inbox.embedded:
            log.warning(
                "the inbox is the file %s: receiver and workers must be on this one machine. For more than "
                "one, set MAKINI_WEBHOOK_INBOX to PostgreSQL.",
                inbox,
            )
        else:
            log.info("the inbox is %s", inbox)

    # A request

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = b""
        try:
            status, body = await self._answer(scope, receive)
        except Gone:
            return
        except Refusal as refusal:
            self._ledger.refused(refusal.reason)
            status, body, allowed = refusal.status, b"", refusal.allowed
        except Exception as error:
            self._ledger.trouble(error)
            status, body = 503, b""
        await _send(send, status, body, allowed=allowed, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        method, path = scope["method"], self._path(scope)
        if path == "/health":
            if method not in ("GET", "HEAD"):
                raise Refusal(405, "method", allowed=b"GET, HEAD")
            return await self._tell_health()
        if not path.startswith("/webhooks/"):
            raise Refusal(404, "path")
        if method != "POST":
            raise Refusal(405, "method", allowed=b"POST")
        if self._limiter is not None and not await self._limiter.admit():
            raise Refusal(503, "rate")
        if not self._started:
            await self._start()
        await self._take_in(path.removeprefix("/webhooks/"), scope, receive)
        return 200, b"ok\n"

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        path = path.removeprefix(scope.get("root_path", "").rstrip("/"))
        return path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else ""

    async def _take_in(self, name: str, scope: Scope, receive: Receive) -> None:
        async with self._body(scope, receive) as body:
            received_at = datetime.now(UTC)
            endpoint = await self._endpoints.get(name) or self._nobody
            if not is_authentic(
                _only(scope, endpoint.header), body, secrets=endpoint.secrets, encoding=endpoint.encoding
            ):
                raise Refusal(401, "signature")
            # From here on it is Makini's own, and kept whatever it says.
            envelope = open_envelope(body, id_name=endpoint.event_id)
            new = await self._intake.put(
                Received(
                    endpoint=endpoint.name,
                    payload=body,
                    received_at=received_at,
                    type=envelope.type,
                    event_id=envelope.event_id,
                )
            )
            self._ledger.received(endpoint.name, new=new, readable=envelope.readable)

    @contextlib.asynccontextmanager
    async def _body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """Read the body, no longer and no more of it than the settings allow, and account for its memory."""
        most = self._settings.max_bytes
        too_long = _stated_length(scope) > most
        if too_long and _only(scope, "expect"):
            # It has not been sent yet, and need not be.
            raise Refusal(413, "size")
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._settings.body_seconds):
                    async for part in _parts(receive):
                        too_long = too_long or len(body) + len(part) > most
                        if too_long:
                            # Read on and keep nothing: who is cut off while sending may miss the answer.
                            continue
                        if self._bytes_in_memory + len(part) > BODIES_IN_MEMORY * most:
                            raise Refusal(503, "memory")
                        self._bytes_in_memory += len(part)
                        body += part
            except TimeoutError:
                if not too_long:
                    raise Refusal(408, "slow") from None
            if too_long:
                raise Refusal(413, "size")
            yield bytes(body)
        finally:
            self._bytes_in_memory -= len(body)

    # Health

    async def _tell_health(self) -> tuple[int, bytes]:
        counts = await self._counts()
        told: dict[str, Any] = {"status": "unavailable" if counts is None else "ok"}
        if counts is not None:
            told |= {
                "waiting": counts.waiting,
                "claimed": counts.claimed,
                "dead": counts.dead,
                "oldest_seconds": None if counts.oldest is None else round(counts.oldest.total_seconds(), 1),
            }
        told |= self._ledger.told()
        return 503 if counts is None else 200, json.dumps(told).encode() + b"\n"

    async def _counts(self) -> Counts | None:
        """Counts that are not older than a few seconds: whoever may ask, and often, costs one query."""
        async with self._looking:
            asked_at, counts = self._health
            if time.monotonic() - asked_at >= _SECONDS_OF_HEALTH:
                try:
                    counts = await self._intake.counts()
                except MakiniError as error:
                    self._ledger.trouble(error)
                    counts = None
                self._health = (time.monotonic(), counts)
            return counts


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _only(scope: Scope, header: str) -> bytes:
    """The value of a header; nothing where there are several."""
    values = [value for name, value in scope["headers"] if name == header.encode()]
    return values[0] if len(values) == 1 else b""


def _stated_length(scope: Scope) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not length.isdigit():
        raise Refusal(400, "length")
    return int(length) if len(length) <= 18 else sys.maxsize


class _Ledger:
    """What has happened: for the metrics at once, for the inbox soon, for the log now and then."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._since_start: Counter[str] = Counter()
        self._unreported: Counter[tuple[str, str]] = Counter()
        self._reporting: asyncio.Task[None] | None = None
        self._told_at: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def received(self, endpoint: str, *, new: bool, readable: bool) -> None:
        self._count("received", endpoint)
        if not new:
            self._count("coalesced", endpoint)
        if not readable:
            self._count("unreadable", endpoint)
            self._say(f"endpoint {endpoint!r}: an authentic webhook is no JSON object; it is kept as it is")

    def refused(self, reason: str) -> None:
        self._count(f"rejected.{reason}")
        self._say(f"a request was refused: {reason}")

    def trouble(self, error: Exception) -> None:
        self._count("unavailable")
        known = isinstance(error, MakiniError)
        text = str(error) if known else f"an error that nobody expected, {type(error).__name__}"
        self._say(f"a request was answered 503: {text}", None if known else error)

    def told(self) -> dict[str, Any]:
        """What has happened since the start of this process."""
        prefix = "rejected."
        rejected = {k.removeprefix(prefix): n for k, n in self._since_start.items() if k.startswith(prefix)}
        names = ("received", "coalesced", "unreadable", "unavailable")
        return {name: self._since_start[name] for name in names} | {"rejected": rejected}

    async def report(self) -> None:
        """Bring what was counted to the inbox."""
        unreported, self._unreported = self._unreported, Counter()
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        tallies = [Tally(hour, endpoint, what, n) for (endpoint, what), n in unreported.items()]
        try:
            await self._intake.add_tallies(tallies)
            metrics.gauges(await self._intake.counts())
        except MakiniError:
            # The trouble is told where a webhook meets it; the numbers wait for better times.
            self._unreported += unreported

    def _count(self, what: str, endpoint: str = "") -> None:
        self._since_start[what] += 1
        self._unreported[endpoint, what] += 1
        metrics.count(what, endpoint=endpoint or None)
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report_soon())

    async def _report_soon(self) -> None:
        await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)
        await self.report()

    def _say(self, what: str, error: Exception | None = None) -> None:
        """One line for many: a flood must not fill the disk."""
        now = time.monotonic()
        if now - self._told_at.get(what, -_SECONDS_BETWEEN_LINES) < _SECONDS_BETWEEN_LINES:
            self._untold[what] += 1
            return
        more = self._untold.pop(what, 0)
        if len(self._told_at) == _MOST_LINES:
            self._told_at.clear()
        self._told_at[what] = now
        more_said = f" (and {more} more since the last such line)" if more else ""
        log.warning("%s%s", what, more_said, exc_info=error)


async def _send(send: Send, status: int, body: bytes, *, allowed: bytes, head: bool) -> None:
    headers = [
        (b"content-type", b"application/json" if body.startswith(b"{") else b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if allowed:
        headers.append((b"allow", allowed))
    if status == 503:
        headers.append((b"retry-after", _RETRY_AFTER))
    if status != 200:
        # Of a refused body nothing more is read.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
