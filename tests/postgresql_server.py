"""A PostgreSQL server of the tests' own, on a socket in a folder that is thrown away."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them out of PATH."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to be root: then it is another user, as its package makes one."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no user but root")


class PostgreSQL:
    """A running server.

    :param settings: of the server, beside those that make it quick or local
    """

    def __init__(self, programs: Path, settings: Mapping[str, str] | None = None) -> None:
        self._programs = programs
        self._run_as = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if self._run_as:
            os.chown(self._folder, self._run_as["user"], self._run_as["group"])
        self._settings = {"listen_addresses": "", "unix_socket_directories": str(self._folder)}
        self._settings |= settings or {}
        initdb = ["initdb", "-D", "data", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        self._call(*initdb, "--locale=C")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._call("pg_ctl", "start", "-w", "-t", "60", "-D", "data", "-l", "log", "-o", options)

    def kill(self) -> None:
        """End the server as a power cut does: nothing is written any more."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        self._call("pg_ctl", "stop", "-w", "-t", "60", "-D", "data", "-m", "immediate", check=False)

    def close(self) -> None:
        """End the server and remove all of it."""
        self._call("pg_ctl", "stop", "-w", "-t", "60", "-D", "data", "-m", "immediate", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, schema: str = "public") -> str:
        options = quote(f"-csearch_path={schema}", safe="")
        return f"postgresql://postgres@/postgres?host={quote(str(self._folder), safe='')}&options={options}"

    def new_database(self) -> str:
        """Return the URL of an empty place: a schema, which is made much faster than a database."""
        name = f"t{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(name)

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        finished = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            # Not a pipe: the server would keep it open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            **self._run_as,
        )
        if check and finished.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{program} failed: {log.read_text() if log.exists() else 'no log'}")


@contextlib.contextmanager
def postgresql_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgreSQL]:
    """Start a server; the test that asks for it is skipped where there is none."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian, Ubuntu: apt-get install postgresql)")
    server = PostgreSQL(programs, settings)
    try:
        yield server
    finally:
        server.close()
