"""The receiver in Airflow's api-server: off unless asked for, light, and never at the expense of tasks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
from airflow_home import BIN, AirflowHome, kill_group
from standalone import free_ports

pytestmark = pytest.mark.airflow

SECRET = "whsec-in-the-api-server"
BODY = b'{"event": "assets.updated", "body": ["A-1"]}'
SIGNATURE = base64.b64encode(hmac.new(SECRET.encode(), BODY, hashlib.sha256).digest()).decode()
JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough-for-every-algorithm-there-is"
CONNECTIONS = 64
SECONDS = 4.0
RATE = 20


def token_of(task_instance: str) -> str:
    """What the scheduler gives a task to speak to the Execution API with."""
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 600}
    claims = {"jti": uuid4().hex, "aud": "urn:airflow.apache.org:task", "sub": task_instance, **times}
    return jwt.encode(claims | {"scope": "execution"}, JWT_SECRET, algorithm="HS512")


class ApiServer:
    """``airflow api-server`` with one worker, which has the Execution API and the receiver to serve."""

    def __init__(self, home: AirflowHome, inbox: Path) -> None:
        (self.port,) = free_ports(1)
        self.log = home.folder / "api-server.log"
        self.environment = {
            "AIRFLOW__API_AUTH__JWT_SECRET": JWT_SECRET,
            "MAKINI_WEBHOOK_PLUGIN": "true",
            "MAKINI_WEBHOOK_PLUGIN_RATE": str(RATE),
            "MAKINI_WEBHOOK_ENDPOINTS": "plant",
            "MAKINI_WEBHOOK_INBOX": f"sqlite:///{inbox}",
            "AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT": json.dumps({"conn_type": "generic", "password": SECRET}),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(BIN / "airflow"),
                    "api-server",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    "--workers",
                    "1",
                ],
                cwd=home.folder,
                env=home.environment | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while not self._is_up():
            assert self._process.poll() is None, self.log.read_text()[-5_000:]
            assert time.monotonic() < deadline, self.log.read_text()[-5_000:]
            time.sleep(0.3)

    def close(self) -> None:
        kill_group(self._process)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _is_up(self) -> bool:
        try:
            return self.ask("GET", "/api/v2/version")[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inbox") / "inbox.db"


@pytest.fixture(scope="module")
def api_server(airflow_home: AirflowHome, inbox: Path) -> Iterator[ApiServer]:
    server = ApiServer(airflow_home, inbox)
    try:
        yield server
    finally:
        server.close()


def test_a_webhook_comes_in_through_the_api_server(api_server: ApiServer, inbox: Path) -> None:
    path = "/makini/webhooks/plant"
    assert api_server.ask("POST", path, BODY, X_Webhook_Signature=SIGNATURE)[0] == 200
    assert api_server.ask("POST", path, BODY, X_Webhook_Signature="forged")[0] == 401
    with contextlib.closing(sqlite3.connect(inbox)) as database:
        rows = database.execute("SELECT endpoint, payload FROM makini_inbox").fetchall()
    assert rows == [("plant", BODY)]
    status, health = api_server.ask("GET", "/makini/health")
    assert (status, json.loads(health)["waiting"]) == (200, 1)
    assert {api_server.ask("GET", f"/makini/{page}")[0] for page in ("docs", "openapi.json", "redoc")} == {
        404
    }


def test_a_flood_does_not_keep_tasks_from_their_heartbeats(api_server: ApiServer) -> None:
    task_instance = str(uuid4())
    token = token_of(task_instance)

    def heartbeat() -> float:
        started = time.monotonic()
        status, body = api_server.ask(
            "PUT",
            f"/execution/task-instances/{task_instance}/heartbeat",
            json.dumps({"hostname": "here", "pid": 1}).encode(),
            Authorization=f"Bearer {token}",
            Content_Type="application/json",
        )
        # Nobody knows this task instance; the database was asked.
        assert status == 404, body
        return time.monotonic() - started

    for _ in range(3):
        heartbeat()
    quiet = sorted(heartbeat() for _ in range(20))

    async def both() -> tuple[list[float], Counter[int]]:
        flooding = asyncio.create_task(_flood(api_server.port))
        await asyncio.sleep(0.5)
        beats = []
        while not flooding.done():
            beats.append(await asyncio.to_thread(heartbeat))
            await asyncio.sleep(0.05)
        return sorted(beats), await flooding

    flooded, answers = asyncio.run(both())
    print(f"heartbeat, quiet: {_told(quiet)}; under the flood: {_told(flooded)}; answers: {dict(answers)}")
    assert len(flooded) > 10
    assert set(answers) <= {401, 503}
    # What is looked at is bounded, and so is what is sent away: it waits for a second each.
    assert answers[401] <= RATE * (SECONDS + 2)
    assert answers[503] <= CONNECTIONS * (SECONDS + 1)
    # A task is given up after 5 minutes without a heartbeat.
    assert flooded[-1] < 5


async def _flood(port: int) -> Counter[int]:
    """Forged webhooks over many connections, each sending the next as soon as it is answered."""
    answers: Counter[int] = Counter()
    end = time.monotonic() + SECONDS
    request = (
        b"POST /makini/webhooks/plant HTTP/1.1\r\nhost: x\r\nx-webhook-signature: forged\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )

    async def send() -> None:
        while time.monotonic() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answers[int((await reader.read(1_000))[9:12])] += 1
            writer.close()

    await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    return answers


def _told(seconds: list[float]) -> str:
    return f"median {seconds[len(seconds) // 2] * 1000:.0f} ms, longest {seconds[-1] * 1000:.0f} ms"


PLUGIN = """
import os, sys
import airflow.sdk.plugins_manager, makini_provider
before = set(sys.modules)
from makini_provider.plugin import MakiniPlugin
print(MakiniPlugin().fastapi_apps, *sorted(set(sys.modules) - before))
os.environ |= {"MAKINI_WEBHOOK_PLUGIN": "true", "MAKINI_WEBHOOK_MAX_BYTES": "a lot"}
print(MakiniPlugin().fastapi_apps)
"""


def test_the_plugin_is_off_imports_nothing_and_never_raises(airflow_home: AirflowHome) -> None:
    finished = airflow_home.command(BIN / "python", "-c", PLUGIN)
    assert finished.code == 0, finished.output
    assert "[] makini_provider.plugin\n" in finished.output
    assert "not mounted: MAKINI_WEBHOOK_MAX_BYTES is 'a lot'" in finished.output
    assert finished.output.endswith("[]\n")
