"""``make demo``: both syncs in real Airflow against a local Makini, and what has landed.

Everything is left as it was found, except for ``./makini-data/makini_demo``, which holds what landed. Airflow
runs in a home of its own that is removed at the end, and with no setting of the person's shell.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from makini_provider.api.errors import MakiniError
from makini_provider.api.resources import get_resource
from makini_provider.destinations.uri import check_destination

ROOT = Path(__file__).resolve().parents[1]
HERE = Path.cwd()
CONN_ID = "makini_demo"
DATA = HERE / "makini-data"
LANDED = DATA / CONN_ID
MARK = LANDED / ".made-by-make-demo"
WORK = HERE / ".airflow"
LOG = WORK / "demo.log"
CHANGES = {"updates": 40, "inserts": 10, "deletes": 3}
SAMPLE = "eam/work-orders"
LONGEST_STEP = 170
WIDTH = 100
INHERITED = re.compile(r"_?AIRFLOW_|MAKINI_|PYTHON|VIRTUAL_ENV$|(no|https?|all)_proxy$", re.IGNORECASE)

Streams = dict[str, dict[str, Any]]


class DemoError(Exception):
    """Something the demo needs did not work."""


def say(text: str = "", end: str = "\n") -> None:
    print(text, end=end, flush=True)


def shown(path: Path) -> str:
    """A path as a person in this folder would write it."""
    return str(path.relative_to(HERE)) if path.is_relative_to(HERE) else str(path)


# Airflow and the sandbox


class Processes:
    """Programs that the demo starts; none outlives it."""

    def __init__(self, home: Path) -> None:
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {name: value for name, value in os.environ.items() if not INHERITED.match(name)}
        self.environment |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "MAKINI_CONN_IDS": CONN_ID,
            "MAKINI_DESTINATION": f"file://{DATA}",
        }

    def start(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        """Start a module of this Python, in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=HERE,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **streams,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, wanted: bool = False) -> str:
        """Run a module to its end; what it prints goes to the log, or is returned where it is wanted."""
        with LOG.open("a") as log:
            log.write(f"\n$ python -m {' '.join(arguments)}\n")
            log.flush()
            process = self.start(*arguments, stdout=subprocess.PIPE if wanted else log, stderr=log)
            try:
                printed, _ = process.communicate(timeout=LONGEST_STEP)
            except subprocess.TimeoutExpired:
                raise DemoError(f"`{' '.join(arguments)}` was not done after {LONGEST_STEP} s.") from None
        if process.returncode:
            raise DemoError(f"`{' '.join(arguments)}` ended with exit code {process.returncode}.")
        return printed or ""

    def end(self) -> None:
        """End all, politely first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self._started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in self._started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
        for process in self._started:
            if process.stdout:
                process.stdout.close()


class Sandbox:
    """The local Makini: a process on a free port."""

    def __init__(self, processes: Processes) -> None:
        self.token = secrets.token_hex(16)
        with LOG.open("a") as log:
            process = processes.start(
                "makini_provider.sandbox",
                *("--port", "0", "--token", self.token),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        greeting = process.stdout.readline()
        if not greeting.startswith("Makini sandbox: "):
            raise DemoError("The sandbox did not start.")
        self.url = greeting.split()[-1]

    def change(self, resources: list[str]) -> dict[str, Any]:
        """Tell it to change some records of each list."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(
                "POST",
                "/_sandbox/changes",
                json.dumps({**CHANGES, "resources": resources}),
                {"Authorization": f"Bearer {self.token}"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise DemoError(f"The sandbox did not change its data: {answer}")
        changes: dict[str, Any] = answer["data"]
        return changes


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is going on, and how long it took."""
    say(f"  {what} ".ljust(WIDTH - 22, "."), end=" ")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say("stopped")
        raise
    say(f"{time.monotonic() - began:.0f} s")


def landed(processes: Processes) -> Streams:
    """What ``python -m makini_provider files --json`` tells, by resource."""
    document = json.loads(processes.run("makini_provider", "files", str(DATA), "--json", wanted=True))
    return {stream["resource"]: stream for stream in document["streams"] if stream["source"] == CONN_ID}


def make_room() -> str:
    """Remove what an earlier demo has landed, and nothing else; say so."""
    if DATA.exists() and not DATA.is_dir():
        raise DemoError(f"{shown(DATA)} is a file, and should be a folder: move it away.")
    try:
        check_destination(f"file://{DATA}")
    except MakiniError as error:
        raise DemoError(str(error)) from None
    note = ""
    if LANDED.exists():
        if not MARK.is_file():
            raise DemoError(
                f"{shown(LANDED)} exists and is not from an earlier demo: move it away, so that it is kept."
            )
        shutil.rmtree(LANDED)
        note = f"What an earlier demo had left in {shown(LANDED)} was removed first.\n"
    LANDED.mkdir(parents=True)
    MARK.write_text("`make demo` made this folder, and removes it when it runs again.\n")
    return note


def demo(processes: Processes) -> None:
    """Run the syncs and show what came of them."""
    say(f"Makini demo: both syncs in real Airflow {version('apache-airflow')}, against a local Makini\n")
    if note := make_room():
        say(note)
    with step("Starting the sandbox: a Makini API with invented data"):
        sandbox = Sandbox(processes)
        connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
        processes.environment[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
    with step("airflow db migrate, in an Airflow home of its own"):
        processes.run("airflow", "db", "migrate")
    with step("airflow dags test makini_initial_sync"):
        processes.run("airflow", "dags", "test", "makini_initial_sync")
        initial = landed(processes)
        if not initial or not all(stream["watermark"] for stream in initial.values()):
            raise DemoError("The initial sync has not completed every stream.")
    with step(f"Changing the sandbox's data: {_changes(CHANGES)} per resource"):
        changed = sandbox.change(list(initial))
    with step("airflow dags test makini_incremental_sync"):
        processes.run("airflow", "dags", "test", "makini_incremental_sync")
        now = landed(processes)
        if not all(now[name]["watermark"] > stream["watermark"] for name, stream in initial.items()):
            raise DemoError("The incremental sync has not moved every watermark.")
    _show(initial, now, changed)


# What it prints


def _changes(numbers: dict[str, int]) -> str:
    return f"{numbers['updates']} updated, {numbers['inserts']} new, {numbers['deletes']} deleted"


def _show(initial: Streams, now: Streams, changed: dict[str, Any]) -> None:
    rows: list[tuple[str, ...]] = [
        ("", "initial", "changed at", "incremental", "", "watermark"),
        ("resource", "records", "the source", "records", "files", "(UTC)"),
    ]
    totals = [0, 0, 0, 0]
    vanished = 0
    for name, stream in now.items():
        # A record may have been updated and then deleted.
        keys = {kind: set(keys) for kind, keys in changed[name]["keys"].items()}
        changes = keys["updated"] | keys["inserted"]
        if get_resource(name).has_deleted_at:
            changes |= keys["deleted"]
        else:
            changes -= keys["deleted"]
            vanished += len(keys["deleted"])
        before = initial[name]["records"]
        numbers = [before, len(changes), stream["records"] - before, len(stream["files"])]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append((name, *map("{:,}".format, numbers), stream["watermark"][:19].replace("T", " ")))
    rows.append(("", *map("{:,}".format, totals), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    say(f"\nLanded in {shown(LANDED)}:\n")
    for name, *cells, watermark in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False)]
        say(f"  {'   '.join([name.ljust(widths[0]), *aligned, watermark])}".rstrip())
    say("\n  Incremental syncs look back an hour, for what arrives late, so they may bring a record again;")
    say("  the newest version wins when it is read. Before its watermark, a stream has everything.")
    if vanished:
        say(f"  {vanished} records vanished: their lists have no deletedAt, so that no window shows it.")
    say(f"\nThe newest record of {SAMPLE}, shortened:\n")
    say(_shortened(_last_record(Path(now[SAMPLE]["files"][-1]["path"]))))
    python = shlex.quote(shown(Path(sys.executable)))
    say("\nQuery it. List the files, and then, for instance in DuckDB (more in docs/querying.md):\n")
    say(f"  {python} -m makini_provider files {shown(DATA)} {CONN_ID}/{SAMPLE} > files.txt\n")
    say(textwrap.indent(_recipe(), "  "))
    say(f"""
Next, with the API token of a Makini connection (its records go to a folder of their own):

  export AIRFLOW_CONN_MAKINI_DEFAULT='{{"conn_type": "makini", "password": "<token>"}}'
  export MAKINI_DESTINATION={shlex.quote(f"file://{DATA}")}
  export AIRFLOW_HOME={shlex.quote(str(WORK / "home"))}
  export AIRFLOW__CORE__DAGS_FOLDER={shlex.quote(str(ROOT / "dags"))}
  {python} -m airflow db migrate
  {python} -m airflow dags test makini_initial_sync        # once
  {python} -m airflow dags test makini_incremental_sync    # as often as you like

In your own Airflow: install this package, and put the files of {shown(ROOT / "dags")} among your DAGs.""")


def _last_record(file: Path) -> dict[str, Any]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        last = ""
        for line in lines:
            last = line
    record: dict[str, Any] = json.loads(last)
    return record


def _shortened(record: dict[str, Any]) -> str:
    """A few fields of each kind, on a few lines."""
    texts = [name for name, value in record.items() if isinstance(value, str) and not name.endswith("At")]
    lists = [name for name, value in record.items() if isinstance(value, list) and value]
    times = [name for name in ("createdAt", "updatedAt", "deletedAt") if name in record]
    short = {name: textwrap.shorten(record[name], 60, placeholder=" …") for name in texts[:7]}
    parts = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in short.items()]
    parts += [f'"{name}": [… {len(record[name])} …]' for name in lists[:3]]
    parts += [f'"{name}": {json.dumps(record[name])}' for name in times]
    lines = ["  {"]
    for part in parts:
        if len(lines[-1]) + len(part) > WIDTH - 2:
            lines.append("   ")
        lines[-1] += f"{part}, "
    return "\n".join(line.rstrip() for line in lines) + " …}"


def _recipe() -> str:
    """The first SQL of the documentation, where there is the repository."""
    found = re.search(r"```sql\n(.*?)```", (ROOT / "docs" / "querying.md").read_text(), re.DOTALL)
    return found[1].rstrip() if found else ""


def _explain(error: DemoError) -> None:
    lines = LOG.read_text(errors="replace").splitlines() if LOG.exists() else []
    telling = [line for line in lines if re.search(r"\[(error|critical)|Error\b|Exception\b", line)] or lines
    say(f"\nThe demo failed. {error}", end="\n\n")
    for line in telling[-8:]:
        say(f"  {line[:300]}")
    if lines:
        say(f"\nAll that Airflow said: {shown(LOG)}")


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run the demo and clean up, however it ends."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    WORK.mkdir(exist_ok=True)
    LOG.write_text("")
    home = Path(tempfile.mkdtemp(prefix="demo-", dir=WORK))
    processes = Processes(home)
    try:
        demo(processes)
    except DemoError as error:
        _explain(error)
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted; cleaning up.")
        return 128 + signal.SIGINT
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        processes.end()
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
