"""A receiver with an inbox of its own, whose endpoints can be changed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.webhooks.inbox import Inbox
from makini_provider.webhooks.receiver import Receiver
from makini_provider.webhooks.settings import Endpoint, WebhookSettings, read_endpoint

from .asgi import Answer, alive, request
from .events import claim

SECRET = b"whsec-of-the-tests"
BODY = b'{"event": "assets.updated", "body": ["A-1"]}'
ALLOWED = {200, 400, 401, 405, 408, 413}


def signed(
    body: bytes, secret: bytes = SECRET, header: bytes = b"x-webhook-signature"
) -> list[tuple[bytes, bytes]]:
    return [(header, base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()))]


class Rig:
    """A receiver with an inbox of its own, whose endpoints can be changed."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.endpoints: dict[str, Endpoint | Exception] = {
            "plant": read_endpoint("plant", password=SECRET.decode())
        }
        self.looked_up: list[str] = []
        self.inbox = Inbox(url)
        self.opening: list[Exception] = []
        self.settings = WebhookSettings(
            **{"endpoints": ("plant", "open"), "inbox": url, "cache_seconds": 1e9, **options}
        )
        self.receiver = Receiver(self.settings, open_inbox=self._open, find_endpoint=self._find)

    def __call__(self, *arguments: Any, **options: Any) -> Answer:
        """One request, in an event loop of its own."""

        async def run() -> Answer | None:
            async with alive(self.receiver):
                return await request(self.receiver, *arguments, **options)

        answer = asyncio.run(run())
        assert answer is not None
        return answer

    def again(self) -> None:
        """A new process on the same inbox."""
        self.receiver = Receiver(self.settings, open_inbox=self._open, find_endpoint=self._find)

    def kept(self) -> list[bytes]:
        return [event.payload for event in claim(self.inbox)]

    def _open(self) -> Inbox:
        if self.opening:
            raise self.opening[0]
        return Inbox(self.url)

    def _find(self, name: str) -> Endpoint:
        self.looked_up.append(name)
        found = self.endpoints.get(name) or MakiniConfigurationError(f"no connection for {name}")
        if isinstance(found, Exception):
            raise found
        return found
