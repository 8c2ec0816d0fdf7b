"""The sandbox's webhooks, as a receiver sees them."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest

from makini_provider.sandbox import Sandbox, WebhookSettings

SECRET = "s3cret"


class Receiver:
    """Answers each webhook with the next status, then with 200."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], str, bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # As receivers do, it closes a connection that idles.
            timeout = 0.3

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen.append((json.loads(body), self.headers["X-Webhook-Signature"], body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/makini/webhooks/main"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [content for content, _, _ in self.seen]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def started(receiver: Receiver) -> Iterator[Callable[..., Sandbox]]:
    opened: list[Sandbox] = []

    def start(**settings: Any) -> Sandbox:
        webhooks = WebhookSettings(url=receiver.url, secret=SECRET, **settings)
        opened.append(Sandbox(records=60, webhooks=webhooks).start())
        return opened[-1]

    yield start
    for sandbox in opened:
        sandbox.stop()


def settled(sandbox: Sandbox) -> dict[str, int]:
    deadline = time.monotonic() + 10
    while (counts := sandbox.webhooks.counts())["pending"]:
        assert time.monotonic() < deadline, counts
        time.sleep(0.01)
    return counts


def test_a_change_is_told_signed_and_with_keys_alone(
    receiver: Receiver, started: Callable[..., Sandbox]
) -> None:
    sandbox = started(keys_per_event=2)
    done = sandbox.store.change(updates=2, inserts=1, deletes=1, resources=["eam/assets", "eam/meters"])
    assert settled(sandbox) == {"sent": 3, "delivered": 3, "refused": 0, "given_up": 0, "pending": 0}
    kinds = done["eam/assets"]
    told = Counter(key for event in receiver.events for key in event["body"])
    assert told == Counter(kinds["updated"] + kinds["inserted"] + kinds["deleted"])
    assert {event["event"] for event in receiver.events} == {"assets.updated", "assets.inserted"}
    for content, signature, body in receiver.seen:
        assert set(content) == {"event", "body"}
        assert base64.b64decode(signature) == hmac.digest(SECRET.encode(), body, "sha256")


def test_what_is_not_taken_comes_again(receiver: Receiver, started: Callable[..., Sandbox]) -> None:
    receiver.statuses = [503, 201]
    sandbox = started(first_retry=0.05)
    sandbox.store.change(updates=1, resources=["eam/sites"])
    assert settled(sandbox) == {"sent": 1, "delivered": 1, "refused": 2, "given_up": 0, "pending": 0}
    assert receiver.events == [receiver.events[0]] * 3


def test_an_event_after_a_pause_is_taken_at_once(receiver: Receiver, started: Callable[..., Sandbox]) -> None:
    sandbox = started(first_retry=0.05)
    for _ in range(3):
        sandbox.webhooks.send({"event": "sites.updated", "body": ["S-1"]})
        assert settled(sandbox)["refused"] == 0
        time.sleep(0.6)


def test_it_is_given_up_in_the_end(receiver: Receiver, started: Callable[..., Sandbox]) -> None:
    receiver.statuses = [503] * 9
    sandbox = started(first_retry=0.05, give_up=0.1)
    sandbox.store.change(updates=1, resources=["eam/sites"])
    assert settled(sandbox)["given_up"] == 1


def test_duplicates_and_disorder_are_the_same_each_time(
    receiver: Receiver, started: Callable[..., Sandbox]
) -> None:
    sandbox = started(seed=3, duplicates=0.3, disorder=0.4, keys_per_event=1)
    for number in range(30):
        sandbox.webhooks.send({"event": "assets.updated", "body": [str(number)]})
    assert settled(sandbox)["delivered"] == 30 + 5
    order = [int(event["body"][0]) for event in receiver.events]
    assert set(order) == set(range(30))
    assert order != sorted(order)


def test_it_can_be_steered_over_http(receiver: Receiver) -> None:
    with Sandbox(records=60) as sandbox:

        def steer(body: dict[str, Any] | None) -> dict[str, int]:
            data = None if body is None else json.dumps(body).encode()
            request = Request(f"{sandbox.url}/_sandbox/webhooks", data)
            request.add_header("Authorization", f"Bearer {sandbox.token}")
            with urlopen(request) as answer:
                counts: dict[str, int] = json.load(answer)["data"]
                return counts

        sandbox.store.change(updates=1, resources=["eam/sites"])
        steer({"url": receiver.url, "platform_events": True})
        sandbox.store.change(updates=1, resources=["eam/sites"])
        settled(sandbox)
        assert steer(None)["delivered"] == 2
    assert sorted(event["event"] for event in receiver.events) == ["sites.updated", "sync.completed"]


@pytest.mark.parametrize(
    "settings", [{"url": "ftp://x"}, {"duplicates": 2}, {"delay": -1}, {"first_retry": 0}, {"nonsense": 1}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|no such setting"):
        WebhookSettings.from_json(settings)
