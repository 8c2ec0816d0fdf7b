"""A secret is nowhere but in its connection and its store: no log, database, file or output has it."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from airflow_home import HERE, AirflowHome, DagRunner, dag_runner
from landing import Landing
from leaks import leaks, leaks_in_database, leaks_in_files

from makini_provider.sandbox import Behaviour, Sandbox

pytestmark = pytest.mark.airflow

# With characters that are written otherwise in a URL and in JSON.
TOKEN = "tok+that/nobody=may-see~4711"
WRONG_TOKEN = "tok+that/is=wrong-and-secret~4712"
CLIENT_SECRET = "cs+that/nobody=may-see~4713"
WRONG_CLIENT_SECRET = "cs+that/is=wrong-and-secret~4714"
SPENT_REFRESH_TOKEN = "rt+that/was=spent-and-secret~4715"
PROXY_PASSWORD = "proxy+pass/word=4716"
CUSTOMER = "09000207611898"


class Recorded(Sandbox):
    """A Makini API that remembers each token that it gave away."""

    def __init__(self) -> None:
        super().__init__(seed=9, token=TOKEN, records=60)
        self.authority.client_secret = CLIENT_SECRET
        self.given: set[str] = set()
        told = self.authority._told

        def told_and_remembered(issued: tuple[str, Any], **more: str) -> dict[str, Any]:
            self.given |= {issued[0], *more.values()}
            return told(issued, **more)

        self.authority._told = told_and_remembered  # type: ignore[method-assign]


@dataclass
class Runs:
    """What was run, and what it printed."""

    runner: DagRunner
    landing: Landing
    printed: list[str] = field(default_factory=list)

    def run(self, dag_id: str, state: str, **connection: Any) -> None:
        environment = {
            "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps({"conn_type": "makini"} | connection),
            "MAKINI_RESOURCES": "eam/sites,eam/work-orders",
            "MAKINI_DESTINATION": self.landing.uri,
        }
        run = self.runner.run(dag_id, environment)
        self.printed.append(run.output)
        assert run.state == state, run.output

    @property
    def output(self) -> str:
        return "".join(self.printed)


def go_every_way(runs: Runs, sandbox: Recorded) -> None:
    """Run DAGs with each kind of credentials: good ones, refused ones, a server that fails, a crash."""
    api_token = {"host": sandbox.url, "password": TOKEN}
    application = {"host": sandbox.url, "login": sandbox.authority.client_id, "password": CLIENT_SECRET}
    one_customer = application | {"extra": {"makini_connection": CUSTOMER}}
    store = {"token_store": "variable://makini_tokens_of_the_leak_test"}
    seed = sandbox.authority.pair(CUSTOMER)["refresh_token"]
    rotating = application | {"extra": store | {"refresh_token": seed}}
    proxy = sandbox.url.replace("://", f"://user:{quote(PROXY_PASSWORD, safe='')}@")
    behind_proxy = {
        "host": "http://makini.example",
        "password": TOKEN,
        "extra": {"proxies": {"http": proxy}, "allow_http": True},
    }
    for connection in (rotating, api_token, one_customer, behind_proxy):
        runs.run("makini_initial_sync", "success", **connection)
        # A pair that is kept ends, and is replaced by another.
        sandbox.store.clock.advance(timedelta(days=30, hours=1))
        runs.run("makini_incremental_sync", "success", **connection)
        runs.run("shows_all", "failed", **connection)
        if connection is rotating:
            runs.run("makini_token_rotation", "success", **connection)
        if connection in (rotating, one_customer):
            sandbox.behave(Behaviour(fault_rate=1.0, faults=("500",)))
            runs.run("prompt_sync", "failed", **connection)
            sandbox.behave()
    sandbox.authority.revoke(refresh=True)
    for refused in (
        api_token | {"password": WRONG_TOKEN},
        one_customer | {"password": WRONG_CLIENT_SECRET},
        rotating,
        application
        | {"extra": {"token_store": "variable://new_tokens", "refresh_token": SPENT_REFRESH_TOKEN}},
        api_token | {"host": "http://127.0.0.1:9"},
    ):
        runs.run("prompt_sync", "failed", **refused)
    runs.run("makini_connection_health", "failed", **api_token | {"password": WRONG_TOKEN})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Recorded]:
    with Recorded() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def runs(runner: DagRunner, sandbox: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(runner, Landing(tmp_path_factory.mktemp("landing")))
    go_every_way(runs, sandbox)
    return runs


@pytest.fixture(scope="module")
def secrets(runs: Runs, sandbox: Recorded) -> set[str]:
    """All that was secret in these runs."""
    kinds = {TOKEN, WRONG_TOKEN, CLIENT_SECRET, WRONG_CLIENT_SECRET, SPENT_REFRESH_TOKEN, PROXY_PASSWORD}
    # An application's, a connection's, and pairs: the first, a refreshed one, one after a refusal.
    assert len(sandbox.given) >= 8
    return kinds | sandbox.given


def test_nothing_that_is_printed_has_a_secret(runs: Runs, secrets: set[str]) -> None:
    assert "DEBUG makini_provider.api.transport GET /api/eam/work-orders: 200" in runs.output
    assert "DEBUG makini_provider.shown <MakiniHook 'makini_default'>" in runs.output
    assert leaks(runs.output, secrets) == set()


def test_no_log_and_no_file_of_airflow_has_a_secret(
    airflow_home: AirflowHome, runs: Runs, secrets: set[str]
) -> None:
    assert leaks_in_files(airflow_home.folder, secrets) == {}


def test_no_row_of_the_database_has_a_secret(
    airflow_home: AirflowHome, runs: Runs, secrets: set[str]
) -> None:
    for table in ("xcom", "rendered_task_instance_fields", "serialized_dag", "variable", "log"):
        assert airflow_home.rows(f"SELECT * FROM {table}"), table
    assert leaks_in_database(airflow_home.database, secrets) == {}


def test_no_file_that_landed_has_a_secret(runs: Runs, secrets: set[str]) -> None:
    assert leaks_in_files(runs.landing.folder, {'"key"'})
    assert leaks_in_files(runs.landing.folder, secrets) == {}


def test_at_debug_only_airflows_own_messages_between_its_processes_have_secrets(
    airflow_home: AirflowHome, sandbox: Recorded, secrets: set[str], tmp_path: Path
) -> None:
    seed = sandbox.authority.pair(CUSTOMER)["refresh_token"]
    connection = {
        "host": sandbox.url,
        "login": sandbox.authority.client_id,
        "password": CLIENT_SECRET,
        "extra": {"refresh_token": seed, "token_store": "variable://makini_tokens_at_debug"},
    }
    with dag_runner(airflow_home, AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG") as runner:
        runs = Runs(runner, Landing(tmp_path))
        runs.run("shows_all", "failed", **connection)
        sandbox.store.clock.advance(timedelta(days=30, hours=1))
        runs.run("shows_all", "failed", **connection)
    # What is to be masked, and what is to be written into a Variable: see docs/security.md.
    own = ("msg=MaskSecret(", "msg=PutVariable(")
    lines = [line for line in runs.output.splitlines() if not any(message in line for message in own)]
    assert len(lines) > 100
    assert leaks("\n".join(lines), secrets | sandbox.given) == set()


# As dag_runner.py does it: past what Airflow's own configuration says about logs.
DEBUGGING = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from dag_runner import talk_much
from makini_provider.cli.main import main
talk_much()
sys.exit(main(sys.argv[1:]))
"""


def test_the_command_line_prints_no_secret_where_nothing_is_masked(
    airflow_home: AirflowHome, sandbox: Recorded
) -> None:
    host = {"conn_type": "makini", "host": sandbox.url}
    application = host | {"login": sandbox.authority.client_id, "password": CLIENT_SECRET}
    pair = {"refresh_token": sandbox.authority.pair(CUSTOMER)["refresh_token"], "token_store": "variable://"}
    proxy = {"https": f"http://user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:9"}
    connections = {
        "good": host | {"password": TOKEN},
        "wrong": host | {"password": WRONG_TOKEN},
        "one_customer": application | {"extra": {"makini_connection": CUSTOMER}},
        "wrong_client": application | {"password": WRONG_CLIENT_SECRET},
        "pair": application | {"extra": pair},
        "proxied": host | {"host": "https://makini.example", "password": TOKEN, "extra": {"proxies": proxy}},
    }
    environment = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}
    done = airflow_home.command(sys.executable, "-c", DEBUGGING, HERE, "check", "--all", **environment)
    assert done.code == 1
    assert "good works" in done.output
    assert "GET /api/integrations/current: 200" in done.output
    assert all(f"{name} does not work" in done.output for name in ("wrong", "wrong_client", "proxied"))
    secrets = {TOKEN, WRONG_TOKEN, CLIENT_SECRET, WRONG_CLIENT_SECRET, PROXY_PASSWORD} | sandbox.given
    assert leaks(done.output, secrets) == set()


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(f"Bearer {TOKEN}", id="raw"),
        pytest.param(f"?token={quote_plus(TOKEN)}", id="in a URL"),
        pytest.param(json.dumps({"token": TOKEN}).replace("/", "\\/"), id="in JSON"),
        *(
            pytest.param(
                base64.b64encode(f"{before}{TOKEN}:b".encode()).decode(), id=f"in base64, {before!r}"
            )
            for before in ("", "a", "ab", "abc")
        ),
    ],
)
def test_the_search_finds_what_is_there(tmp_path: Path, written: str) -> None:
    assert leaks(f"x{written}x", {TOKEN, WRONG_TOKEN}) == {TOKEN}
    (tmp_path / "part.jsonl.gz").write_bytes(gzip.compress(written.encode()))
    (tmp_path / "log.txt").write_text(written)
    assert len(leaks_in_files(tmp_path, {TOKEN})) == 2
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database:
        database.execute("CREATE TABLE xcom (value)")
        database.execute("INSERT INTO xcom VALUES (?)", ["x" * 10_000 + written])
        database.commit()
    assert leaks_in_database(tmp_path / "airflow.db", {TOKEN}) == {"xcom.value": {TOKEN}}
