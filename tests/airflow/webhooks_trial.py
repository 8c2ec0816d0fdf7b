"""Webhooks in numbers, with duplicates, disorder, forgeries, and what they need killed in between.

A change at the source, a webhook that tells of it, and so on; at the end the destination must equal the
source, each event must have exactly one end, and nothing of what was forged may be anywhere. On its own::

    python tests/airflow/webhooks_trial.py --events 10000 --database postgresql
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from airflow_home import AirflowHome
from landing import Landing, truth
from postgresql_server import PostgreSQL, postgresql_server
from receiving import ReceiverProcess
from sqlalchemy import create_engine, text
from standalone import Standalone, eventually, free_ports

from makini_provider.sandbox import Sandbox, WebhookSettings
from makini_provider.sandbox.webhooks import SIGNATURE_HEADER, sign
from makini_provider.webhooks.inbox import Inbox

DAG = "makini_webhook_events"
RESOURCES = ("eam/assets", "eam/sites", "eam/work-orders", "eam/purchase-orders")
TOKEN = "tok-of-the-trial-5150"
SECRET = "wh-secret-of-the-trial-5150"
FORGED = "forged-by-a-stranger"
DUPLICATES = 0.3
FORGERIES = 0.05
PATIENCE = 500.0


@dataclass
class Figures:
    """What a trial has come to.

    :param events: that tell of changes, each another
    :param sent: webhooks that the receiver has taken, duplicates included
    :param refused: answers other than 200 to what was authentic: while something was down
    :param forged: webhooks of a stranger, or broken on the way
    :param answers: to those, by status
    :param coalesced: webhooks that an equal one, still waiting, has stood for
    :param seconds: from the first webhook to the last landed record
    :param killed: what was killed, and started again
    """

    events: int = 0
    sent: int = 0
    refused: int = 0
    forged: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    coalesced: int = 0
    seconds: float = 0.0
    landed: int = 0
    runs: int = 0
    killed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """Everything that a trial runs on."""

    sandbox: Sandbox
    receiver: ReceiverProcess
    airflow: Standalone
    landing: Landing
    inbox_url: str
    folder: Path


@contextlib.contextmanager
def staged(
    folder: Path,
    inbox_url: str,
    resources: Sequence[str] = RESOURCES,
    *,
    airflow_database_url: str | None = None,
) -> Iterator[Stage]:
    """Sandbox, receiver and Airflow, after the initial sync.

    The incremental sync stays paused: webhooks alone bring changes.
    """
    landing = Landing(folder / "landing")
    home = AirflowHome(folder / "home", database_url=airflow_database_url)
    (port,) = free_ports(1)
    with ExitStack() as ending:
        sandbox = ending.enter_context(Sandbox(token=TOKEN, records=300))
        # The trial itself says what is told of, and when.
        sandbox.store.on_change = lambda _: None
        extra = json.dumps({"sources": ["makini_default"], "domains": ["eam"]})
        client = {"max_parallel_requests": 4}
        settings = {
            "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(
                {"conn_type": "makini", "host": sandbox.url, "password": TOKEN, "extra": client}
            ),
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps(
                {"conn_type": "generic", "password": SECRET, "extra": extra}
            ),
            "MAKINI_DESTINATION": landing.uri,
            "MAKINI_RESOURCES": ",".join(resources),
            "MAKINI_HISTORY_DAYS": "3650",
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_INBOX": inbox_url,
            "MAKINI_WEBHOOK_LEASE_SECONDS": "20",
            # Once a year: after a first run, whatever happens was woken up by the triggerer.
            "MAKINI_WEBHOOK_SCHEDULE": "0 0 1 1 *",
        }
        receiver = ReceiverProcess(home.environment | settings, port, folder / "receiver.log")
        ending.callback(receiver.kill)
        airflow = Standalone(home, settings, wanted=["makini_initial_sync", DAG])
        ending.callback(airflow.close)
        receiver.start()
        eventually("the start", airflow.is_up, airflow.log)
        airflow.unpause(DAG)
        airflow.unpause("makini_initial_sync")
        eventually("the initial sync", lambda: airflow.finished("makini_initial_sync"), airflow.log)
        eventually("the first run", lambda: airflow.finished(DAG), airflow.log)
        yield Stage(sandbox, receiver, airflow, landing, inbox_url, folder)


class Trial:
    """Changes and their webhooks, and what happens meanwhile.

    :param stage: what it runs on
    :param seed: of everything that happens by chance
    :param database: of the inbox, where it can be killed
    """

    def __init__(self, stage: Stage, *, seed: int = 1, database: PostgreSQL | None = None) -> None:
        self._stage = stage
        self._random = Random(seed)
        self._database = database
        self._line: HTTPConnection | None = None
        self.figures = Figures()
        self.event_ids: list[str] = []

    def run(self, events: int, *, kill: Sequence[str] = ()) -> Figures:
        """Run it, and check what must hold.

        :param events: so many different ones
        :param kill: ``receiver``, ``worker``, ``database``: each once, evenly spread
        """
        figures, webhooks = self.figures, self._stage.sandbox.webhooks
        webhooks.configure(
            WebhookSettings(
                url=self._stage.receiver.url("plant"),
                secret=SECRET,
                seed=self._random.randrange(2**32),
                duplicates=DUPLICATES,
                disorder=0.4,
                delay=1.0,
                first_retry=0.5,
            )
        )
        before = webhooks.counts()
        kills = {events * (n + 1) // (len(kill) + 1): what for n, what in enumerate(kill)}
        began = time.monotonic()
        for number in range(events):
            self._change_and_tell(number)
            if self._random.random() < FORGERIES * (1 + DUPLICATES):
                self._forge()
            if number in kills:
                self._kill(kills[number])
            # Not faster than a sender that waits for its answers.
            while webhooks.counts()["pending"] > 200:
                time.sleep(0.02)
        self._wait("the webhooks", lambda: webhooks.counts()["pending"] == 0)
        self._wait("the inbox", self._all_worked_off)
        figures.seconds = time.monotonic() - began
        after = webhooks.counts()
        figures.events = events
        figures.sent = after["delivered"] - before["delivered"]
        figures.refused = after["refused"] - before["refused"]
        assert after["given_up"] == before["given_up"]
        self._check()
        return figures

    def _change_and_tell(self, number: int) -> None:
        sandbox, random = self._stage.sandbox, self._random
        resource = random.choice(RESOURCES)
        kind = random.choices(["updates", "inserts", "deletes", "hard_deletes"], [80, 12, 4, 4])[0]
        changes = sandbox.store.change(**{kind: random.randint(1, 3)}, resources=[resource])[resource]
        keys = [key for keys in changes.values() for key in keys]
        if not keys:
            return
        change = "inserted" if kind == "inserts" else "updated"
        content: dict[str, Any] = {"event": f"{resource.partition('/')[2]}.{change}", "body": keys}
        if number % 2:
            content["event_id"] = str(uuid4())
            self.event_ids.append(content["event_id"])
        sandbox.webhooks.send(content)

    def _forge(self) -> None:
        """Something that is not Makini's, or did not come whole."""
        random = self._random
        body = json.dumps({"event": "assets.updated", "body": [f"{FORGED}-{uuid4()}"]}).encode()
        header, sent = random.choice(
            [
                (sign("another secret", body), body),
                ("", body),
                ("no base64 at all!", body),
                (sign(SECRET, body)[:-6] + "AAAAA=", body),
                (sign(SECRET, body), body[:-1]),
                (sign(SECRET, body), body + b" "),
            ]
        )
        url = urlsplit(self._stage.receiver.url("plant"))
        line = HTTPConnection(url.netloc, timeout=10)
        try:
            line.request("POST", url.path, sent, {SIGNATURE_HEADER: header} if header else {})
            status = line.getresponse().status
        except OSError:
            return  # the receiver is away: a stranger does not try again
        finally:
            line.close()
        self.figures.forged += 1
        self.figures.answers[status] = self.figures.answers.get(status, 0) + 1

    def _kill(self, what: str) -> None:
        if what == "receiver":
            self._stage.receiver.kill()
            time.sleep(1.5)
            self._stage.receiver.start()
        elif what == "database":
            assert self._database is not None
            self._database.kill()
            time.sleep(2)
            self._database.start()
        else:
            self._wait("a running worker", self._kill_worker)
        self.figures.killed.append(what)

    def _kill_worker(self) -> bool:
        """End the process of the task that works the inbox off, as the kernel does when memory is short."""
        rows = self._stage.airflow.home.rows(
            "SELECT pid FROM task_instance WHERE dag_id = ? AND task_id = 'drain' AND state = 'running'", DAG
        )
        for (pid,) in rows:
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def _all_worked_off(self) -> bool:
        with contextlib.closing(Inbox(self._stage.inbox_url)) as inbox:
            counts = inbox.counts()
        return counts.waiting == counts.claimed == 0

    def _wait(self, what: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not look():
            assert time.monotonic() < deadline, (
                f"{what} did not come to an end:\n{self._stage.airflow.log.read_text()[-10_000:]}"
            )
            time.sleep(0.25)

    # What must hold

    def _check(self) -> None:
        stage, figures = self._stage, self.figures
        for resource in RESOURCES:
            landed, expected = stage.landing.records(resource), truth(stage.sandbox, resource)
            assert landed.keys() == expected.keys(), resource
            assert landed == expected, resource
            state = stage.landing.state(resource)
            assert {c.covered for c in state.commits if c.kind in ("events", "tombstones")} <= {None}
            figures.landed += sum(c.records for c in state.commits if c.kind == "events")
        engine = create_engine(_with_driver(stage.inbox_url))
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT event_id, state, payload FROM makini_inbox")).all()
        engine.dispose()
        ends = [(row.event_id, row.state) for row in rows if row.event_id is not None]
        assert sorted(event_id for event_id, _ in ends) == sorted(self.event_ids), (
            "each event id is there once"
        )
        assert {row.state for row in rows} == {"done"}, "each event has one end"
        figures.coalesced = figures.sent - len(rows)
        assert not any(FORGED.encode() in bytes(row.payload) for row in rows)
        assert set(figures.answers) <= {401, 503}
        marked = [p for p in stage.folder.rglob("*") if p.is_file() and FORGED.encode() in p.read_bytes()]
        assert marked == [], "something of a forgery is left"
        runs = stage.airflow.home.rows("SELECT run_type FROM dag_run WHERE dag_id = ?", DAG)
        figures.runs = len(runs)


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--events", type=int, default=7300, help="different ones; with duplicates 1.3 as many"
    )
    parser.add_argument(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="of the inbox and of Airflow itself",
    )
    arguments = parser.parse_args()
    # Ended from outside, it leaves nothing running either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="webhooks-trial-")))
        server: PostgreSQL | None = None
        url, airflows_own = f"sqlite:///{folder}/inbox.db", None
        kill = ["receiver", "worker"]
        if arguments.database == "postgresql":
            server = ending.enter_context(postgresql_server())
            url = server.new_database()
            kill.append("database")
            # A server of its own: Airflow does not survive the loss of its database, and need not.
            airflows_own = ending.enter_context(postgresql_server()).url()
        stage = ending.enter_context(staged(folder, url, airflow_database_url=airflows_own))
        figures = Trial(stage, database=server).run(arguments.events, kill=kill)
        print(json.dumps({"database": arguments.database} | vars(figures), indent=2))


if __name__ == "__main__":
    main()
