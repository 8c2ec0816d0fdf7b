"""The receiver in a process of its own, as ``uvicorn`` runs it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from airflow_home import kill_group

PATIENCE = 60.0


class ReceiverProcess:
    """A receiver that can be killed and started again at the same address.

    :param environment: all of it
    :param port: that was free a moment ago
    :param log: what it prints
    """

    def __init__(self, environment: Mapping[str, str], port: int, log: Path) -> None:
        self._environment = dict(environment)
        self._port = port
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, endpoint: str) -> str:
        return f"http://127.0.0.1:{self._port}/makini/webhooks/{endpoint}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "makini_provider.webhooks.app:app"),
                    *("--host", "127.0.0.1", "--port", str(self._port), "--log-level", "warning"),
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()[-5_000:]
            assert time.monotonic() < deadline, self.log.read_text()[-5_000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/makini/health", timeout=2):
                return True
        except HTTPError:
            return True
        except (URLError, TimeoutError, ConnectionError):
            return False
