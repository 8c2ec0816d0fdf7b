"""A token is nowhere but in its connection: no log, no database, no file, no output has it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from airflow_home import AirflowHome, DagRunner
from landing import Landing

from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

TOKEN = "tok-that-nobody-may-see-4711"
WRONG = "tok-that-is-wrong-and-secret-4712"


@pytest.fixture(scope="module")
def runs(
    airflow_home: AirflowHome, runner: DagRunner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Landing, str]:
    """Good runs of both DAGs and refused ones, at a destination; and all that they printed."""
    landing = Landing(tmp_path_factory.mktemp("landing"))
    with Sandbox(seed=9, token=TOKEN, records=60) as sandbox:
        printed = []
        for token, state in ((TOKEN, "success"), (WRONG, "failed")):
            connection = {"conn_type": "makini", "host": sandbox.url, "password": token}
            environment = {
                "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
                "MAKINI_RESOURCES": "eam/sites,eam/work-orders",
                "MAKINI_DESTINATION": landing.uri,
            }
            for dag_id in ("makini_initial_sync", "makini_incremental_sync"):
                run = runner.run(dag_id, environment)
                assert run.state == state
                printed.append(run.output)
    return landing, "".join(printed)


def files_with(folder: Path, secret: str) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            if secret.encode() in content:
                found.append(path)
    return found


@pytest.mark.parametrize("secret", [TOKEN, WRONG])
def test_nothing_that_is_printed_has_the_token(runs: tuple[Landing, str], secret: str) -> None:
    _, printed = runs
    assert "DEBUG makini_provider.api.transport GET /api/eam/work-orders: 200" in printed
    assert secret not in printed


@pytest.mark.parametrize("secret", [TOKEN, WRONG])
def test_no_log_and_no_row_of_the_database_has_the_token(
    airflow_home: AirflowHome, runs: tuple[Landing, str], secret: str
) -> None:
    assert airflow_home.rows("SELECT * FROM xcom")
    assert airflow_home.rows("SELECT * FROM rendered_task_instance_fields")
    assert files_with(airflow_home.folder, secret) == []


def test_no_file_that_landed_has_the_token(runs: tuple[Landing, str]) -> None:
    landing, _ = runs
    assert files_with(landing.folder, '"key"')
    assert files_with(landing.folder, TOKEN) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "part.jsonl.gz").write_bytes(gzip.compress(TOKEN.encode()))
    (tmp_path / "log.txt").write_text(f"Bearer {TOKEN}")
    assert len(files_with(tmp_path, TOKEN)) == 2
