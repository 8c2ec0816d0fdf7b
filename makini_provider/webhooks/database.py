"""The database of the inbox: a driver for its URL, transactions, and failures in words that show no value.

Times are those of the PostgreSQL server, since clocks of several machines differ.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from makini_provider.api.errors import MakiniConfigurationError, MakiniInboxError
from makini_provider.webhooks.schema import Instant

_SECONDS_TO_WAIT: Final = 5
"""For a connection to PostgreSQL, and for SQLite's lock. Makini waits 10 s for its answer."""


class Database:
    """A PostgreSQL database, or a SQLite file.

    :param url: ``postgresql://…`` or ``sqlite:///<file>``
    :raises MakiniConfigurationError: not such a database, or no driver for it
    :raises MakiniInboxError: the file's folder can't be made
    """

    def __init__(self, url: str | URL) -> None:
        self._url = _with_driver(url)
        self.embedded = self._url.get_backend_name() == "sqlite"
        self.insert = (sqlite if self.embedded else postgresql).insert
        if self.embedded:
            self._prepare_file()
            self._engine = create_engine(self._url, hide_parameters=True)
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self._engine = create_engine(
                self._url, hide_parameters=True, pool_pre_ping=True, connect_args=_postgresql_arguments()
            )

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Connection]:
        """All that happens within, or nothing.

        :param write: whether anything is written; SQLite has one writer at a time
        :raises MakiniInboxError: the database can't be used
        """
        try:
            engine = self._engine.execution_options(makini_write=write)
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            # The text behind the first line may show values, and the statement says nothing to a user.
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise MakiniInboxError(
                f"the inbox {self} can't be used: {reason}",
                remedy="Check that the database is up, has space, and lets its user create tables.",
            ) from None

    def now(self, connection: Connection) -> datetime:
        """The time by which events are due and leases pass."""
        if self.embedded:
            return datetime.now(UTC)
        now: datetime = connection.execute(select(func.clock_timestamp(type_=Instant()))).scalar_one()
        return now

    def _prepare_file(self) -> None:
        if self._url.database and self._url.database != ":memory:":
            try:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise MakiniInboxError(f"the folder of the inbox {self} can't be made: {error}.") from error
        else:
            raise MakiniConfigurationError(
                "the inbox would be in memory and lost with the process.",
                remedy="Name a file: sqlite:////var/lib/airflow/makini-inbox.db.",
            )


def _with_driver(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise MakiniConfigurationError(
            "the inbox's URL is none.", remedy="Write it like postgresql://user:password@host:5432/database."
        ) from None
    backend = {"postgres": "postgresql"}.get(parsed.get_backend_name(), parsed.get_backend_name())
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    if backend != "postgresql":
        raise MakiniConfigurationError(
            f"the inbox can't be in a database of the kind {backend!r}.",
            remedy="Use PostgreSQL (postgresql://…), or SQLite on a single machine (sqlite:///…).",
        )
    # Airflow's own PostgreSQL installations have either of the two.
    driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
    if driver is None:
        raise MakiniConfigurationError(
            "the inbox is in PostgreSQL, for which no driver is installed.",
            remedy="Install airflow-provider-makini[postgres].",
        )
    return parsed.set(drivername=f"postgresql+{driver}")


def _postgresql_arguments() -> dict[str, Any]:
    # A server that has vanished from the network must be noticed before Makini gives up on its request.
    # The timeout is for what was sent. A server that vanishes when it has the query, and owes the answer, is
    # found out by probes, which the system would begin after two hours.
    return {
        "connect_timeout": _SECONDS_TO_WAIT,
        "tcp_user_timeout": _SECONDS_TO_WAIT * 1_000,
        "keepalives_idle": _SECONDS_TO_WAIT,
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # Transactions begin where _begin_sqlite says so, not where the sqlite3 module thinks that one is needed.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_SECONDS_TO_WAIT * 1_000}")
    # Readers do not wait for the writer; a commit is on the disk when it returns.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail where another has written in between.
    write = connection.get_execution_options().get("makini_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
