"""Tasks in processes of their own: real operators, forked from a process that has imported all they need."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import s3fs
from airflow.sdk.io import attach
from fsspec.asyn import sync_wrapper

from makini_provider.destinations.files.store import open_store
from makini_provider.destinations.files.vacuum import vacuum
from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator
from tests.destinations.object_store import CHANGES, client

KINDS = {"initial": MakiniInitialSyncOperator, "incremental": MakiniIncrementalSyncOperator}
WRITES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
"""Python's audit events of what a store on a local disk does; each is raised before it is done."""

# A process that has imported Airflow, without threads, which forks at once what else takes seconds.
context = get_context("forkserver")
context.set_forkserver_preload(
    [
        "pytest",
        "aiobotocore.session",
        "makini_provider.destinations.files.destination",
        "makini_provider.hooks.makini",
        "makini_provider.sync.run",
        __name__,
    ]
)


class _Process:
    """A process that runs by now, and sends one answer at its end.

    :param act: gives the answer
    :param setting: called before
    """

    def __init__(self, act: Callable[[], Any], setting: Callable[[], object] | None) -> None:
        self._answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_answer, args=(answers, act, setting), daemon=True)
        self._process.start()
        answers.close()
        assert self._answers.poll(60), "the process did not start"
        assert self._answers.recv() == "begun"

    def runs(self) -> bool:
        """Whether it has not come to its end."""
        return not self._answers.poll()

    def kill(self) -> None:
        """End the process for good, wherever it is."""
        self._process.kill()
        self._process.join(30)
        self._answers.close()

    def wait(self) -> Any:
        """What was done; ``None`` where the process was killed; an exception's text where it failed."""
        assert self._answers.poll(100), "the process hangs"
        try:
            answer = self._answers.recv()
        except EOFError:
            answer = None
        self._process.join(30)
        assert (self._process.exitcode == -signal.SIGKILL) == (answer is None)
        self._answers.close()
        return answer


def _answer(answers: Connection, act: Callable[[], Any], setting: Callable[[], object] | None) -> None:
    logging.disable(logging.CRITICAL)
    answers.send("begun")
    try:
        if setting is not None:
            setting()
        answers.send(act())
    except Exception as error:
        answers.send(f"{type(error).__name__}: {error}")


class Task(_Process):
    """A task, which answers with its receipt.

    :param kind: ``initial`` or ``incremental``
    :param arguments: of the operator
    :param connection: the Airflow connection ``makini_default``
    :param run_id: the same for all tries of a run
    :param setting: called in the process before the task begins
    """

    def __init__(
        self,
        kind: str,
        arguments: dict[str, Any],
        connection: dict[str, Any],
        *,
        run_id: str = "run",
        setting: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(partial(_execute, kind, arguments, json.dumps(connection), run_id), setting)


def _execute(kind: str, arguments: dict[str, Any], connection: str, run_id: str) -> Any:
    os.environ["AIRFLOW_CONN_MAKINI_DEFAULT"] = connection
    operator = KINDS[kind](task_id="sync", max_window=timedelta(days=5), **arguments)
    run = {
        "ti": SimpleNamespace(dag_id="task", run_id=run_id),
        "dag_run": SimpleNamespace(run_type="manual"),
    }
    return operator.execute(run)  # type: ignore[arg-type]


class Vacuum(_Process):
    """A vacuum, which answers with what it removed.

    :param uri: of the destination
    :param grace: its grace period
    """

    def __init__(self, uri: str, grace: timedelta, *, setting: Callable[[], object] | None = None) -> None:
        super().__init__(partial(_vacuum, uri, grace), setting)


def _vacuum(uri: str, grace: timedelta) -> Any:
    return vacuum(open_store(uri), grace=grace)


class DieBeforeWrite:
    """Ends its process with SIGKILL before the so-many-th change below a folder.

    :param folder: on the local disk
    :param number: from 1 on
    """

    def __init__(self, folder: str, number: int) -> None:
        self._folder, self._left = folder, number

    def __call__(self) -> None:
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WRITES or not str(arguments[0]).startswith(self._folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if event == "os.mkdir" and Path(arguments[0]).exists():
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class OnS3:
    """Opens the connection ``pond`` in its process, which may end with SIGKILL beside a request.

    :param url: of the server
    :param number: of the request that changes something at which the process dies, from 1 on; 0 for none
    :param after: behind the request instead of before it
    """

    def __init__(self, url: str, number: int = 0, *, after: bool = False) -> None:
        self._url, self._number, self._after = url, number, after

    def __call__(self) -> None:
        lake = client(self._url, KillingS3)
        lake.left, lake.after = self._number, self._after
        attach("s3", "pond", fs=lake)


class KillingS3(s3fs.S3FileSystem):
    left = 0
    after = False

    async def _call_s3(self, method: str, *arguments: Any, **more: Any) -> Any:
        counted = method in CHANGES
        if counted:
            self.left -= 1
        if counted and self.left == 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super()._call_s3(method, *arguments, **more)
        if counted and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    call_s3 = sync_wrapper(_call_s3)
