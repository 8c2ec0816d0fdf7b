"""A whole Airflow: all of its processes, as one command starts them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from airflow_home import BIN, AirflowHome, Run, kill_group

PATIENCE = 150.0
T = TypeVar("T")


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def eventually(what: str, look: Callable[[], T | None], log: Path) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen in {PATIENCE:.0f} s:\n{log.read_text()[-20_000:]}")


class Standalone:
    """``airflow standalone``: scheduler, API server, DAG processor and triggerer.

    :param home: with its database
    :param environment: beside the home's own: connections and settings
    :param wanted: the DAGs that it must know before it is up
    """

    def __init__(
        self,
        home: AirflowHome,
        environment: dict[str, str],
        *,
        wanted: Collection[str] = ("makini_initial_sync", "makini_incremental_sync"),
    ) -> None:
        self.home = home
        self.wanted = set(wanted)
        self.log = home.folder / "standalone.log"
        api, scheduler_log, triggerer_log = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self._token: str | None = None
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(BIN / "airflow"), "standalone"],
                cwd=home.folder,
                env={
                    **home.environment,
                    **environment,
                    "AIRFLOW__API__HOST": "127.0.0.1",
                    "AIRFLOW__API__PORT": str(api),
                    "AIRFLOW__API__BASE_URL": self.url,
                    "AIRFLOW__API__WORKERS": "1",
                    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
                    "AIRFLOW__CORE__PARALLELISM": "2",
                    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(scheduler_log),
                    "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggerer_log),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def close(self) -> None:
        kill_group(self._process)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = Request(f"{self.url}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urlopen(request, None if body is None else json.dumps(body).encode(), timeout=30) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-20_000:]
        try:
            health = self.ask("GET", "/api/v2/monitor/health")
            self._token = self._token or self.ask("GET", "/auth/token")["access_token"]
            known = self.ask("GET", "/api/v2/dags")["dags"]
        except (URLError, TimeoutError, ConnectionError):
            return False
        names = {dag["dag_id"] for dag in known}
        return health["scheduler"]["status"] == "healthy" and self.wanted <= names

    def unpause(self, dag_id: str) -> None:
        self.ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def finished(self, dag_id: str, *, after: str = "") -> tuple[str, Run] | None:
        """The oldest run later than another one that has ended."""
        rows = self.home.rows(
            "SELECT run_id, state, run_type FROM dag_run WHERE dag_id = ? AND run_id > ? "
            "AND state IN ('success', 'failed') ORDER BY run_id LIMIT 1",
            dag_id,
            after,
        )
        if not rows:
            return None
        run_id, state, run_type = rows[0]
        assert run_type == "scheduled"
        return run_id, Run(state, self.home.tasks(dag_id, run_id), "")
