"""How many webhooks a second the receiver takes, kept on disk, with 99 of 100 answered within 100 ms.

::

    python benchmarks/webhooks_per_second.py [--seconds 4] [--http h11] [--most 8000]

One uvicorn process each: an application that reads the body and stores nothing, the receiver with SQLite, the
receiver with PostgreSQL. All three get the same load in turn, at rates that grow by a quarter, until each has
failed three times at one. The load is open-loop: requests are sent by the clock, whether earlier ones are
answered or not, and a latency counts from the moment when its request was due. Every webhook is signed and
different, so that none is coalesced; what the inbox holds is counted at the end.

Nothing leaves the machine. Server and load share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from postgresql_server import postgresql_server  # noqa: E402

from makini_provider.webhooks.inbox import Inbox  # noqa: E402

SECRET = b"whsec-of-the-benchmark"
CONNECTIONS = 64
LIMIT = 0.100
FIRST_RATE = 200.0
GROWTH = 1.25
TRIES = 3

BARE = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"3"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok\\n"})
"""


@dataclass
class Step:
    """One rate for some seconds."""

    rate: float
    sent: int
    refused: int
    took: float
    latencies: list[float] = field(repr=False)

    def at(self, share: float) -> float:
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]

    @property
    def sustained(self) -> bool:
        return not self.refused and self.at(0.99) < LIMIT


@dataclass
class Subject:
    """A server under load."""

    name: str
    port: int
    inbox: Inbox | None = None
    best: Step | None = None
    accepted: int = 0


def requests_of(number: int, first: int) -> list[bytes]:
    """Signed requests, each with another body."""
    made = []
    for n in range(first, first + number):
        body = b'{"event": "assets.updated", "event_id": "E-%d", "body": ["A-%d"]}' % (n, n)
        signature = base64.b64encode(hmac.digest(SECRET, body, hashlib.sha256))
        made.append(
            b"POST /makini/webhooks/plant HTTP/1.1\r\nhost: receiver\r\ncontent-type: application/json\r\n"
            b"x-webhook-signature: %b\r\ncontent-length: %d\r\n\r\n%b" % (signature, len(body), body)
        )
    return made


async def load(port: int, rate: float, seconds: float, first: int) -> Step:
    """Send requests by the clock, over connections that are kept."""
    waiting = list(enumerate(requests_of(int(rate * seconds), first)))[::-1]
    sent = len(waiting)
    latencies: list[float] = []
    refused = 0
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    start = time.perf_counter() + 0.05
    give_up = start + seconds * 2

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        while waiting and time.perf_counter() < give_up:
            number, request = waiting.pop()
            due = start + number / rate
            while (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - due)
            refused += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(send(*connection) for connection in opened))
    took = time.perf_counter() - start
    return Step(rate, sent, refused + len(waiting), took, sorted(latencies))


@contextlib.contextmanager
def serving(application: str, http: str, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """A uvicorn process; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--http", http, "--ws", "none", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), *options]
    log = (folder / f"{port}.log").open("wb")
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": os.defpath, "AIRFLOW_HOME": str(folder), "PYTHONPATH": str(ROOT), **environment},
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / f"{port}.log").read_text())
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def measure(subjects: list[Subject], seconds: float, most: float) -> None:
    """The same rates for all, in turn, until each has failed."""
    rate, first = FIRST_RATE, 0
    running = subjects
    while rate <= most and running:
        for subject in list(running):
            for _ in range(TRIES):
                step = asyncio.run(load(subject.port, rate, seconds, first))
                first += step.sent
                subject.accepted += len(step.latencies)
                told = f"p50 {step.at(0.5) * 1000:6.1f} ms  p99 {step.at(0.99) * 1000:6.1f} ms"
                verdict = "" if step.sustained else "too slow"
                print(f"{subject.name:20} {rate:7.0f}/s  {told}  {verdict}", flush=True)
                if step.sustained:
                    subject.best = step
                    break
            else:
                running = [other for other in running if other is not subject]
        rate *= GROWTH


def disk(folder: Path) -> float:
    """Seconds that it takes to bring a page to the disk: the median of 50 times."""
    times = []
    with (folder / "page").open("wb", buffering=0) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return sorted(times)[25]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4, help="of each step (default: 4)")
    parser.add_argument("--http", choices=["h11", "httptools"], default="h11", help="uvicorn's HTTP parser")
    parser.add_argument("--most", type=float, default=8_000, help="the highest rate (default: 8000)")
    arguments = parser.parse_args()
    connection = json.dumps({"conn_type": "generic", "password": SECRET.decode()})
    settings = {"MAKINI_WEBHOOK_ENDPOINTS": "plant", "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": connection}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="webhooks-")))
        (folder / "bare.py").write_text(BARE)
        postgresql = running.enter_context(postgresql_server())
        urls = {"SQLite": f"sqlite:///{folder}/inbox.db", "PostgreSQL": postgresql.new_database()}
        port = running.enter_context(serving("bare:app", arguments.http, folder, {}))
        subjects = [Subject("stores nothing", port)]
        for name, url in urls.items():
            environment = {**settings, "MAKINI_WEBHOOK_INBOX": url}
            application = "makini_provider.webhooks.app:app"
            port = running.enter_context(serving(application, arguments.http, folder, environment))
            subjects.append(Subject(f"receiver, {name}", port, Inbox(url)))
        page = disk(folder)
        measure(subjects, arguments.seconds, arguments.most)
        for subject in subjects:
            if subject.inbox is not None:
                kept = subject.inbox.counts().waiting
                assert kept == subject.accepted, (
                    f"{subject.name}: {kept} kept of {subject.accepted} answered 200"
                )
                subject.inbox.close()
    bare = subjects[0].best
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, uvicorn with {arguments.http}, ",
        end="",
    )
    print(f"{page * 1000:.1f} ms to bring a page to the disk\n")
    print("| application | webhooks/s | p50 | p99 | of the bare one |")
    print("|---|---|---|---|---|")
    for subject in subjects:
        best = subject.best
        if best is None or bare is None:
            print(f"| {subject.name} | fewer than {FIRST_RATE:.0f} | | | |")
            continue
        times = f"{best.at(0.5) * 1000:.1f} ms | {best.at(0.99) * 1000:.1f} ms"
        print(f"| {subject.name} | {best.rate:.0f} | {times} | {best.rate / bare.rate:.0%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
