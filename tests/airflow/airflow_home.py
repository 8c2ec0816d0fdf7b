"""An Airflow installation of the tests' own: home, database, DAGs, and nothing inherited."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent


def clean_environment(home: Path) -> dict[str, str]:
    """Nothing of the environment that runs the tests but where programs are."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.defpath}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group, with all of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    output: str


@dataclass(frozen=True)
class Task:
    """A task instance, as the database has it."""

    task_id: str
    map_index: int
    state: str
    try_number: int
    label: str | None
    receipt: Any


@dataclass(frozen=True)
class Run:
    """A DAG run that has ended, and what it printed."""

    state: str
    tasks: Sequence[Task]
    output: str

    @property
    def syncs(self) -> list[Task]:
        return [task for task in self.tasks if task.task_id == "sync"]

    def sync(self, resource: str) -> Task:
        (found,) = [task for task in self.syncs if (task.label or "").endswith(f" · {resource}")]
        return found

    @property
    def failure(self) -> str:
        """The line of the log that says why a task has failed for good."""
        return next(
            line
            for line in self.output.splitlines()
            if "AirflowFailException: " in line or "SourceRefusedError: " in line
        )

    @property
    def last_words(self) -> str:
        """What the log of the task that failed ends with, before Airflow's own lines go on."""
        _, _, rest = self.output.rpartition("SourceRefusedError: ")
        return rest.partition("\n2")[0]

    @property
    def receipts(self) -> dict[str, dict[str, Any]]:
        """By resource."""
        return {task.receipt["stream"]["resource"]: task.receipt for task in self.syncs if task.receipt}


class NotStartedError(Exception):
    """Airflow refused to run a DAG at all."""


class AirflowHome:
    """One Airflow, in a folder.

    :param folder: of its DAGs, logs and configuration
    :param database_url: of its metadata, where that is on a PostgreSQL server and not in the folder
    """

    def __init__(self, folder: Path, *, database_url: str | None = None) -> None:
        self.folder = folder
        self.database = folder / "airflow" / "airflow.db"
        self.environment = clean_environment(folder)
        self._database_url = database_url
        if database_url is not None:
            with_driver = database_url.replace("postgresql://", "postgresql+psycopg://")
            self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = with_driver
            self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = with_driver
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True)
        for source in (*(ROOT / "dags").glob("*.py"), *(HERE / "dags").glob("*.py")):
            shutil.copy(source, self.dags)

    def command(self, *arguments: str | Path, timeout: float = 120, **environment: str) -> Finished:
        """Run a program to its end, whatever that is."""
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            kill_group(process)
        return Finished(process.returncode, output)

    def airflow(self, *arguments: str, timeout: float = 120, **environment: str) -> Finished:
        """Run an ``airflow`` command."""
        return self.command(BIN / "airflow", *arguments, timeout=timeout, **environment)

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask the metadata database; ``?`` stands for a value."""
        if self._database_url is not None:
            with psycopg.connect(self._database_url) as connection:
                return connection.execute(query.replace("?", "%s").encode(), values).fetchall()
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """The task instances of a run, with what each returned."""
        rows = self.rows(
            "SELECT t.task_id, t.map_index, t.state, t.try_number, t.rendered_map_index, "
            "CAST(x.value AS TEXT) FROM task_instance t LEFT JOIN xcom x "
            "ON x.dag_id = t.dag_id AND x.run_id = t.run_id "
            "AND x.task_id = t.task_id AND x.map_index = t.map_index AND x.key = 'return_value' "
            "WHERE t.dag_id = ? AND t.run_id = ? ORDER BY t.task_id, t.map_index",
            dag_id,
            run_id,
        )
        return [Task(*row, json.loads(value) if value else None) for *row, value in rows]


class DagRunner:
    """Runs DAGs of an Airflow home, one after the other, in one process beside the tests'."""

    def __init__(self, home: AirflowHome, environment: Mapping[str, str]) -> None:
        self.home = home
        self._log = home.folder / "dag-runner.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "dag_runner.py")],
                cwd=home.folder,
                env=home.environment | dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def close(self) -> None:
        kill_group(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def run(
        self,
        dag_id: str,
        environment: Mapping[str, str],
        *,
        conf: Mapping[str, Any] | None = None,
        scheduled: tuple[datetime, datetime] | None = None,
        **arguments: Any,
    ) -> Run:
        """Run a DAG as ``airflow dags test`` does.

        :param environment: beside the home's own: connections and settings
        :param conf: what the form behind Trigger gives
        :param scheduled: a data interval: the run is one that the scheduler made
        :param arguments: ``logical_date``, where it is not now; ``None`` for none
        """
        before = self._log.stat().st_size
        request = {"dag_id": dag_id, "environment": dict(environment), "conf": dict(conf or {}), **arguments}
        if scheduled:
            request["scheduled"] = [instant.isoformat() for instant in scheduled]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        with self._log.open("rb") as log:
            log.seek(before)
            output = log.read().decode()
        assert line, f"the process that runs DAGs has ended:\n{output}"
        answer = json.loads(line)
        if "error" in answer:
            raise NotStartedError(f"{answer['error']}\n{output}")
        return Run(answer["state"], self.home.tasks(dag_id, answer["run_id"]), output)


@contextlib.contextmanager
def dag_runner(home: AirflowHome, **environment: str) -> Iterator[DagRunner]:
    """Start a process that runs DAGs.

    :param environment: what its Airflow is configured with, beside the home's own
    """
    runner = DagRunner(home, environment)
    try:
        yield runner
    finally:
        runner.close()
