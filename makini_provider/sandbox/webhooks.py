"""Webhooks of the sandbox: signed, repeated until they are taken, and as untidy as one wants them."""

from __future__ import annotations

import base64
import heapq
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count
from random import Random
from typing import Any
from urllib.parse import urlsplit

from .changes import Changes

#: The lists that Makini's data events are about.
ANNOUNCED = frozenset({"sites", "assets", "purchase-orders", "work-orders"})
SIGNATURE_HEADER = "X-Webhook-Signature"

_SENDERS = 4
_ANSWER_SECONDS = 10.0
_HELD_BACK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """
    Where webhooks go, and how untidily. What happens by chance is repeated exactly with the same ``seed``.

    :param url: of the receiver; none, and nothing is sent.
    :param secret: they are signed with it.
    :param seed: of everything that happens by chance.
    :param keys_per_event: so many keys are in one event at most.
    :param duplicates: share of the events that are sent a second time.
    :param disorder: share of the events that later ones overtake: they are held back for up to two seconds.
    :param delay: every event waits up to so many seconds.
    :param platform_events: whether the end of Makini's own sync is told too.
    :param first_retry: seconds until an event that was not taken is sent again; doubled each time.
    :param give_up: seconds after which an event that was not taken is dropped.
    """

    url: str | None = None
    secret: str = field(default="sandbox-webhook-secret", repr=False)
    seed: int = 0
    keys_per_event: int = 20
    duplicates: float = 0.0
    disorder: float = 0.0
    delay: float = 0.0
    platform_events: bool = False
    first_retry: float = 30.0
    give_up: float = 24 * 3600.0

    def __post_init__(self) -> None:
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError("url must begin with http:// or https://")
        for name in ("duplicates", "disorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1")
        if self.keys_per_event < 1 or self.delay < 0 or self.first_retry <= 0 or self.give_up < 0:
            raise ValueError("keys_per_event, delay, first_retry and give_up must be positive")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WebhookSettings:
        """Make settings from a JSON object; raise ValueError for a name that is none."""
        if unknown := values.keys() - {one.name for one in fields(cls)}:
            raise ValueError(f"no such setting of webhooks: {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(order=True, slots=True)
class _Delivery:
    due: float
    number: int
    body: bytes = field(compare=False)
    since: float = field(compare=False)
    attempts: int = field(compare=False, default=0)


def sign(secret: str, body: bytes) -> str:
    """Return what the signature header says: base64 of HMAC-SHA256 over the body."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


class Webhooks:
    """
    Sends what is announced, from threads of its own.

    :param settings: where to, and how.
    """

    def __init__(self, settings: WebhookSettings | None = None) -> None:
        self._settings = settings or WebhookSettings()
        self._chance = Random(self._settings.seed)
        self._waiting: list[_Delivery] = []
        self._changed = threading.Condition()
        self._sending = 0
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._numbers = count()
        self._counts: Counter[str] = Counter()

    def configure(self, settings: WebhookSettings) -> None:
        """Send like this from now on; what waits goes to the new URL."""
        with self._changed:
            self._settings = settings
            self._chance = Random(settings.seed)
            if settings.url is None:
                self._waiting.clear()
            self._changed.notify_all()

    def announce(self, changes: Changes) -> None:
        """Tell of changes, as Makini does: inserted and updated, with nothing but keys."""
        if self._settings.url is None:
            return
        for resource, kinds in changes.items():
            local = resource.partition("/")[2]
            if local not in ANNOUNCED:
                continue
            # A soft deletion is an update of `deletedAt`; of a hard one nobody hears.
            told = {"inserted": kinds["inserted"], "updated": [*kinds["updated"], *kinds["deleted"]]}
            for change, keys in told.items():
                size = self._settings.keys_per_event
                for start in range(0, len(keys), size):
                    self.send({"event": f"{local}.{change}", "body": keys[start : start + size]})
        if self._settings.platform_events:
            # The time is the real one, whatever the store's clock says: it only makes events differ.
            self.send({"event": "sync.completed", "timestamp": time.time(), "details": {"status": "done"}})

    def send(self, content: Mapping[str, Any]) -> None:
        """Send one event, as untidily as the settings say."""
        body = json.dumps(content).encode()
        with self._changed:
            settings, now = self._settings, time.monotonic()
            for _ in range(2 if self._chance.random() < settings.duplicates else 1):
                due = now + self._chance.random() * settings.delay
                if self._chance.random() < settings.disorder:
                    due += self._chance.random() * _HELD_BACK_SECONDS
                heapq.heappush(self._waiting, _Delivery(due, next(self._numbers), body, now))
                self._counts["sent"] += 1
            self._start()
            self._changed.notify_all()

    def counts(self) -> dict[str, int]:
        """How many were sent, taken, refused so far and given up, and how many are on their way."""
        with self._changed:
            pending = len(self._waiting) + self._sending
            names = ("sent", "delivered", "refused", "given_up")
            return {**{name: self._counts[name] for name in names}, "pending": pending}

    def stop(self) -> None:
        """Stop; what is on its way is lost, as in a process that ends."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS)

    def _start(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, name=f"makini-webhooks-{n}", daemon=True)
                for n in range(_SENDERS)
            ]
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        line = _Line()
        while True:
            with self._changed:
                while not self._stopped and not self._next_is_due():
                    # A receiver closes what idles; an event sent there would come half a minute late.
                    line.close()
                    wait = self._waiting[0].due - time.monotonic() if self._waiting else None
                    self._changed.wait(wait)
                if self._stopped:
                    line.close()
                    return
                delivery, settings = heapq.heappop(self._waiting), self._settings
                self._sending += 1
            taken = settings.url is not None and line.post(settings.url, settings.secret, delivery.body)
            with self._changed:
                self._sending -= 1
                self._after(delivery, settings, taken=taken)
                self._changed.notify_all()

    def _next_is_due(self) -> bool:
        return bool(self._waiting) and self._waiting[0].due <= time.monotonic()

    def _after(self, delivery: _Delivery, settings: WebhookSettings, *, taken: bool) -> None:
        if taken:
            self._counts["delivered"] += 1
            return
        self._counts["refused"] += 1
        pause = settings.first_retry * 2**delivery.attempts
        delivery.attempts += 1
        delivery.due = time.monotonic() + pause
        if delivery.due - delivery.since > settings.give_up:
            self._counts["given_up"] += 1
        else:
            heapq.heappush(self._waiting, delivery)


class _Line:
    """One connection to the receiver, kept open while one event follows the other."""

    def __init__(self) -> None:
        self._connection: HTTPConnection | None = None
        self._origin = ""

    def post(self, url: str, secret: str, body: bytes) -> bool:
        """Post a signed body; whether it was taken: answered with 200, in time."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if self._connection is None or origin != self._origin:
            self.close()
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            self._connection, self._origin = kind(parts.netloc, timeout=_ANSWER_SECONDS), origin
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(secret, body)}
        path = parts.path or "/"
        try:
            self._connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            self.close()
            return False
        return answer.status == 200

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
