"""The example DAGs, run where nothing but the wheel and its requirements is installed."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from .conftest import ROOT, InstalledProvider

pytestmark = [pytest.mark.package, pytest.mark.airflow]

RESOURCE = "eam/work-orders"
TOKEN = "tok-of-the-installed-sandbox-4711"


@dataclass(frozen=True)
class RunningSandbox:
    url: str

    def ask(self, path: str, body: Any = None) -> Any:
        request = Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request, None if body is None else json.dumps(body).encode(), timeout=30) as answer:
            return json.load(answer)["data"]

    def records(self) -> dict[str, Any]:
        return {record["key"]: record for record in self.ask(f"/_sandbox/records?resource={RESOURCE}")}


@pytest.fixture(scope="module")
def sandbox(installed_provider: InstalledProvider) -> Iterator[RunningSandbox]:
    """The sandbox of the installed package, on a free port."""
    command = [installed_provider.python, "-m", "makini_provider.sandbox"]
    process = subprocess.Popen(
        # All that it has is younger than the history that is synced.
        [*command, "--port", "0", "--token", TOKEN, "--records", "80", "--days", "60"],
        cwd=installed_provider.home,
        env=installed_provider.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        found = re.match(r"Makini sandbox: (http://\S+)", process.stdout.readline())
        assert found, "the sandbox did not start"
        yield RunningSandbox(found[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def installed_airflow(installed_provider: InstalledProvider, sandbox: RunningSandbox) -> InstalledProvider:
    """Airflow with a database, the example DAGs, and a connection to the sandbox."""
    for dag_file in (ROOT / "dags").glob("*.py"):
        shutil.copy(dag_file, installed_provider.env["AIRFLOW__CORE__DAGS_FOLDER"])
    connection = {"conn_type": "makini", "host": sandbox.url, "password": TOKEN}
    settings = {
        "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
        "MAKINI_RESOURCES": RESOURCE,
        "MAKINI_DESTINATION": f"file://{installed_provider.home}/landing",
    }
    installed_provider.run(installed_provider.airflow, "db", "migrate")
    return replace(installed_provider, env=installed_provider.env | settings)


def landed(home: Path) -> dict[str, Any]:
    """The newest version of each record in the landed files, where each commit is read whole."""
    versions = [
        json.loads(line)
        for commit in (home / "landing").rglob("_commits/*.json")
        for file in json.loads(commit.read_text())["files"]
        for line in gzip.decompress((commit.parents[1] / file["path"]).read_bytes()).splitlines()
    ]
    return {record["key"]: record for record in sorted(versions, key=lambda record: record["updatedAt"])}


def test_the_example_dags_bring_everything_and_then_what_changed(
    installed_airflow: InstalledProvider, sandbox: RunningSandbox
) -> None:
    airflow = installed_airflow.airflow
    installed_airflow.run(airflow, "dags", "test", "makini_initial_sync")
    before = sandbox.records()
    assert landed(installed_airflow.home) == before

    sandbox.ask("/_sandbox/changes", {"updates": 10, "inserts": 3, "deletes": 2, "resources": [RESOURCE]})
    after = sandbox.records()
    assert after != before
    installed_airflow.run(airflow, "dags", "test", "makini_incremental_sync")
    assert landed(installed_airflow.home) == after
