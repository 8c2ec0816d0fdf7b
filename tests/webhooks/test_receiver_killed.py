"""Receiver and database are killed while webhooks come in: what was answered 200 is kept, and once."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgresql_server import PostgreSQL, postgresql_server

from makini_provider.webhooks.inbox import Inbox

from .events import LEASE
from .rig import SECRET, signed

WEBHOOKS = 500


class Process:
    """``uvicorn makini_provider.webhooks.app:app``, which may be killed and started again."""

    def __init__(self, folder: Path, port: int, inbox: str) -> None:
        self._folder = folder
        self._port = port
        self._environment = {
            "PATH": os.defpath,
            "AIRFLOW_HOME": str(folder),
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_INBOX": inbox,
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps(
                {"conn_type": "generic", "password": SECRET.decode()}
            ),
        }
        self._process = self._start()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        application = ["uvicorn", "makini_provider.webhooks.app:app", "--port", str(self._port)]
        with (self._folder / "receiver.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *application, "--http", "h11", "--ws", "none", "--no-access-log"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )


class Makini:
    """Sends each webhook until it is taken or refused, as Makini does, only sooner."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: Counter[int] = Counter()
        self.finished = 0
        self._lock = threading.Lock()

    def send(self, body: bytes, *, forged: bool) -> None:
        signature = b"forged" if forged else signed(body)[0][1]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = self._try(body, signature)
            with self._lock:
                self.answers[status] += 1
            if status in (200, 401):
                with self._lock:
                    self.finished += 1
                return
            time.sleep(0.1)
        raise AssertionError("given up")

    def _try(self, body: bytes, signature: bytes) -> int:
        """The status, or 0 where there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"X-Webhook-Signature": signature.decode()}
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/makini/webhooks/plant", body, headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0


@pytest.mark.timeout(180)
def test_what_was_answered_200_is_kept_once_whoever_is_killed(
    tmp_path: Path, free_port: int, open_inbox: Callable[..., Inbox]
) -> None:
    chance = random.Random(4711)
    numbers = list(range(WEBHOOKS)) + chance.choices(range(WEBHOOKS), k=WEBHOOKS * 3 // 10)
    webhooks = [(b'{"event": "assets.updated", "event_id": "E-%d"}' % n, False) for n in numbers]
    webhooks += [
        (b'{"event": "assets.updated", "event_id": "F-%d"}' % n, True) for n in range(WEBHOOKS // 20)
    ]
    chance.shuffle(webhooks)
    with postgresql_server() as database:
        receiver = Process(tmp_path, free_port, database.url())
        makini = Makini(free_port)
        try:
            with ThreadPoolExecutor(8) as pool:
                sending = [pool.submit(makini.send, body, forged=forged) for body, forged in webhooks]
                _trouble(makini, receiver, database, len(webhooks))
                for one in sending:
                    one.result()
        finally:
            receiver.kill()
        inbox = open_inbox(database.url())
        kept = Counter(event.event_id for event in inbox.claim("worker", limit=10_000, lease=LEASE))
    assert kept == Counter(f"E-{number}" for number in range(WEBHOOKS))
    assert makini.answers[0], "nobody noticed the killed receiver"
    assert makini.answers[503], "nobody noticed the killed database"
    assert set(makini.answers) == {0, 200, 401, 503}


def _trouble(makini: Makini, receiver: Process, database: PostgreSQL, number: int) -> None:
    def after(share: float) -> None:
        while makini.finished < number * share:
            time.sleep(0.005)

    after(0.25)
    receiver.restart()
    after(0.5)
    database.kill()
    seen = makini.answers[503]
    deadline = time.monotonic() + 20
    while makini.answers[503] == seen and time.monotonic() < deadline:
        time.sleep(0.01)
    database.start()
