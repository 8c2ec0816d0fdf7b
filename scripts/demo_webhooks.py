"""``make demo-webhooks``: changes at a local Makini, their webhooks, the landed records, and how long it is.

Receiver, scheduler, triggerer and tasks are real. All runs in a folder that is removed at the end, and with
no setting of the person's shell.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.store import open_store

ROOT = Path(__file__).resolve().parents[1]
LOG = Path.cwd() / ".airflow" / "demo-webhooks.log"
CONN_ID = "makini_demo"
SHOWN = "eam/assets"
LONGEST = 160.0
INHERITED = re.compile(r"_?AIRFLOW_|MAKINI_|PYTHON|VIRTUAL_ENV$|(no|https?|all)_proxy$", re.IGNORECASE)
T = TypeVar("T")


class DemoError(Exception):
    """Something the demo needs did not work."""


def say(text: str = "") -> None:
    print(text, flush=True)


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def eventually(what: str, look: Callable[[], T | None]) -> T:
    """Wait until something is there."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ValueError):
            if found := look():
                return found
        time.sleep(0.1)
    raise DemoError(f"{what} did not happen in {LONGEST:.0f} s.")


def ask(url: str, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    """One HTTP request and its JSON answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return json.loads(connection.getresponse().read())


class Demo:
    """The processes of the demo, in a folder; none outlives it.

    :param folder: that is removed at the end
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[Any]] = []
        self._landing = f"file://{folder}/landing"
        self._token, self._secret = secrets.token_hex(16), secrets.token_hex(16)
        self._api, scheduler_log, triggerer_log, self._receiver, sandbox = free_ports(5)
        self._sandbox = f"http://127.0.0.1:{sandbox}"
        self._airflow = f"http://127.0.0.1:{self._api}"
        self._login: str | None = None
        endpoint = {"sources": [CONN_ID], "domains": ["eam"]}
        connection = {"conn_type": "makini", "host": self._sandbox, "password": self._token}
        self._environment = {name: value for name, value in os.environ.items() if not INHERITED.match(name)}
        self._environment |= {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            # The watcher of a DAG that was unpaused starts when its file is parsed next.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._airflow}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._api),
            "AIRFLOW__API__BASE_URL": self._airflow,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(scheduler_log),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggerer_log),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_MAKINI_DEMO": json.dumps(connection),
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps(
                {"conn_type": "generic", "password": self._secret, "extra": json.dumps(endpoint)}
            ),
            "MAKINI_CONN_IDS": CONN_ID,
            "MAKINI_RESOURCES": SHOWN,
            "MAKINI_DESTINATION": self._landing,
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_INBOX": f"sqlite:///{folder}/inbox.db",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def run(self) -> None:
        """Show it."""
        say("Starting a local Makini, the receiver, and Airflow (scheduler, triggerer, api-server) ...")
        hook = f"http://127.0.0.1:{self._receiver}/makini/webhooks/plant"
        port = str(urlsplit(self._sandbox).port)
        self._start(
            *("makini_provider.sandbox", "--port", port, "--token", self._token),
            *("--webhook-url", hook, "--webhook-secret", self._secret),
        )
        self._start(
            *("uvicorn", "makini_provider.webhooks.app:app", "--host", "127.0.0.1"),
            *("--port", str(self._receiver), "--log-level", "warning"),
        )
        self._start("airflow", "standalone")
        eventually("the start of the sandbox", lambda: self._makini("GET", "/api/eam/sites"))
        eventually("the start of the receiver", lambda: self._answers(self._receiver))
        eventually("the start of Airflow", self._airflow_is_up)
        for dag in ("makini_webhook_events", "makini_initial_sync"):
            self._rest("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        eventually("the initial sync", lambda: self._done("makini_initial_sync"))
        eventually("a first look into the inbox", lambda: self._done("makini_webhook_events"))
        say(f"The initial sync has landed {len(self._records()):,} assets.\n")
        # The worker of that first look has gone home: the next webhook has to wake one up.
        self._show("A record is changed, while no worker runs", {"updates": 1})
        self._show("Another one, shortly after", {"updates": 1})
        self._show("A record vanishes; its webhook asks for a key that is gone", {"hard_deletes": 1})
        self._show("Forty change at once, ten come", {"updates": 40, "inserts": 10})
        say(
            "The incremental sync is paused all the while: webhooks alone have brought this. It stays needed,"
        )
        say("for what no webhook tells of: it reads all since the watermark, which has not moved.")

    def _show(self, title: str, numbers: dict[str, int]) -> None:
        began = time.monotonic()
        body = {**numbers, "resources": [SHOWN]}
        changed = self._makini("POST", "/_sandbox/changes", body)["data"][SHOWN]["keys"]
        gone = changed["hard_deleted"]
        if gone:
            # Of a hard deletion nobody tells: here an update does that has just happened before.
            self._send({"event": "assets.updated", "body": gone})
        eventually("the landing", lambda: self._truth() == self._records())
        keys = [key for kind in ("updated", "inserted", "hard_deleted") for key in changed[kind]]
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        say(f"{title}: {shown}")
        say(f"   change → webhook → inbox → landed: {time.monotonic() - began:.1f} s\n")

    def _send(self, content: dict[str, Any]) -> None:
        from makini_provider.sandbox.webhooks import SIGNATURE_HEADER, sign

        body = json.dumps(content).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._receiver, timeout=10)
        with contextlib.closing(connection):
            headers = {SIGNATURE_HEADER: sign(self._secret, body)}
            connection.request("POST", "/makini/webhooks/plant", body, headers)
            if connection.getresponse().status != http.HTTPStatus.OK:
                raise DemoError("The receiver did not take a webhook.")

    # What the processes say

    def _makini(self, method: str, path: str, body: Any = None) -> Any:
        return ask(self._sandbox, method, path, body, self._token)

    def _rest(self, method: str, path: str, body: Any = None) -> Any:
        return ask(self._airflow, method, path, body, self._login)

    def _answers(self, port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    def _airflow_is_up(self) -> bool:
        self._login = self._login or ask(self._airflow, "GET", "/auth/token")["access_token"]
        known = {dag["dag_id"] for dag in self._rest("GET", "/api/v2/dags")["dags"]}
        return {"makini_initial_sync", "makini_webhook_events"} <= known

    def _done(self, dag_id: str) -> bool:
        runs = self._rest("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        if any(run["state"] == "failed" for run in runs):
            raise DemoError(f"A run of {dag_id} failed.")
        return any(run["state"] == "success" for run in runs)

    def _truth(self) -> dict[str, Any]:
        answer = self._makini("GET", f"/_sandbox/records?resource={SHOWN}")
        return {record["key"]: record for record in answer["data"]}

    def _records(self) -> dict[str, Any]:
        lines = newest_records(open_store(self._landing), f"{CONN_ID}/{SHOWN}")
        return {record["key"]: record for record in map(json.loads, lines)}

    # The processes

    def _start(self, *arguments: str) -> None:
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)

    def end(self) -> None:
        """End all, politely first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self._started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in self._started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)


@contextlib.contextmanager
def demo() -> Iterator[Demo]:
    folder = Path(tempfile.mkdtemp(prefix="makini-demo-"))
    LOG.unlink(missing_ok=True)
    running = Demo(folder)
    try:
        yield running
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the demo."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with demo() as running:
            running.run()
    except DemoError as error:
        say(f"\n{error}\nWhat the programs said: {LOG}")
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
