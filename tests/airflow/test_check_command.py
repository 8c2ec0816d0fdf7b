"""``airflow makini check`` on a real metadata database, as a person types it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from airflow_home import AirflowHome, Finished

from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

TOKEN = "tok-checked-4711"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=8, token=TOKEN, records=60) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def home(airflow_home: AirflowHome, sandbox: Sandbox) -> AirflowHome:
    """An installation that has a connection in its database."""
    connection = {"conn_type": "makini", "host": sandbox.url, "password": TOKEN}
    added = airflow_home.airflow(
        "connections", "add", "makini_in_database", "--conn-json", json.dumps(connection)
    )
    assert added.code == 0, added.output
    return airflow_home


def document(finished: Finished) -> dict[str, object]:
    start = finished.output.index("{\n")
    found: dict[str, object] = json.loads(finished.output[start : finished.output.rindex("}") + 1])
    return found


def test_a_connection_of_the_database_is_found_and_checked(home: AirflowHome) -> None:
    checked = home.airflow("makini", "check", "--conn-id", "makini_in_database", "--resources", "eam/sites")
    assert checked.code == 0, checked.output
    assert "records            eam/sites: " in checked.output
    assert "makini_in_database works" in checked.output
    assert "\033[" not in checked.output  # no colour: it is not a terminal
    assert TOKEN not in checked.output


def test_a_person_at_a_terminal_sees_green_and_red(home: AirflowHome, sandbox: Sandbox) -> None:
    wrong = {"conn_type": "makini", "host": sandbox.url, "password": "tok-wrong-4711"}
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "makini_provider", "check", "--conn-id", "wrong"],
        env=home.environment | {"AIRFLOW_CONN_WRONG": json.dumps(wrong)},
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.DEVNULL,
    )
    os.close(end)
    shown = b""
    # Read on while it writes: a terminal holds little. Its end is an error on Linux.
    with contextlib.suppress(OSError):
        while some := os.read(terminal, 65536):
            shown += some
    os.close(terminal)
    assert process.wait(60) == 1
    assert "\033[32mok  \033[0m  name lookup" in shown.decode()
    assert "\033[31mFAIL\033[0m  access" in shown.decode()


def test_all_finds_those_of_the_database_and_of_the_environment_and_says_what_it_can_not_list(
    home: AirflowHome, sandbox: Sandbox
) -> None:
    connections = home.folder / "connections.json"
    connections.write_text("{}")
    other = {"conn_type": "makini", "host": sandbox.url, "password": "tok-wrong-4711"}
    checked = home.command(
        "python",
        "-m",
        "makini_provider",
        "check",
        "--all",
        "--json",
        "--resources",
        "eam/sites",
        AIRFLOW_CONN_MAKINI_IN_ENVIRONMENT=json.dumps(other),
        AIRFLOW_CONN_SOMETHING_ELSE="http://example.com",
        AIRFLOW__SECRETS__BACKEND="airflow.secrets.local_filesystem.LocalFilesystemBackend",
        AIRFLOW__SECRETS__BACKEND_KWARGS=json.dumps({"connections_file_path": str(connections)}),
    )
    assert checked.code == 1, checked.output
    found = document(checked)
    works = {one["source"]: one["works"] for one in found["connections"]}  # type: ignore[attr-defined]
    assert works == {"makini_in_database": True, "makini_in_environment": False}
    (not_listed,) = found["not_listed"]  # type: ignore[misc]
    assert "LocalFilesystemBackend" in not_listed
    assert "tok-wrong-4711" not in checked.output


def test_all_works_where_the_database_can_not_be_reached_as_on_a_worker(
    home: AirflowHome, sandbox: Sandbox
) -> None:
    connection = {"conn_type": "makini", "host": sandbox.url, "password": TOKEN}
    checked = home.command(
        *("python", "-m", "makini_provider", "check", "--all", "--json", "--resources", "eam/sites"),
        AIRFLOW_CONN_MAKINI_IN_ENVIRONMENT=json.dumps(connection),
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home.folder}/no/such/folder/airflow.db?key=db-4711",
    )
    assert checked.code == 0, checked.output
    found = document(checked)
    assert [one["source"] for one in found["connections"]] == ["makini_in_environment"]  # type: ignore[attr-defined]
    (not_listed,) = found["not_listed"]  # type: ignore[misc]
    assert "metadata database" in not_listed
    assert "db-4711" not in checked.output
