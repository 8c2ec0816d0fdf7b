"""Which connections of type makini there are, as far as that can be told outside a task."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from makini_provider.hooks.connection import CONNECTION_TYPE

_PREFIX: Final = "AIRFLOW_CONN_"


def known() -> tuple[list[str], list[str]]:
    """The ids of those in the environment and in the metadata database, and, in words, what is not listed."""
    missing = list(_not_listed())
    try:
        stored = _in_the_database()
    except Exception as error:
        # Workers have none. The error's text may hold the database's URL.
        missing.append(
            f"connections of the metadata database, which can't be read here ({type(error).__name__}): run it"
            " where Airflow's database can be reached, such as on the api-server."
        )
        stored = []
    return sorted({*_in_the_environment(), *stored}), missing


def _not_listed() -> Iterator[str]:
    """What can hold connections and can't be asked which, in words."""
    from airflow.configuration import conf

    backends = {conf.get(section, option, fallback="") for section, option in _BACKENDS}
    for backend in sorted(filter(None, backends)):
        name = backend.rpartition(".")[2]
        yield f"connections of the secrets backend {name}, which can't be asked which it has: use --conn-id."


_BACKENDS: Final = (("secrets", "backend"), ("workers", "secrets_backend"))


def _in_the_environment() -> Iterator[str]:
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    backend = EnvironmentVariablesBackend()
    for variable in os.environ:
        # Ids are written in capitals there; the usual ones are in small letters.
        conn_id = variable.removeprefix(_PREFIX).lower()
        if variable.startswith(_PREFIX) and _type_of(backend, conn_id) == CONNECTION_TYPE:
            yield conn_id


def _type_of(backend: object, conn_id: str) -> str | None:
    try:
        return getattr(backend.get_connection(conn_id), "conn_type", None)  # type: ignore[attr-defined]
    except Exception:
        # Somebody else's connection, written in a way that Airflow can't read.
        return None


def _in_the_database() -> list[str]:
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(Connection.conn_id).where(Connection.conn_type == CONNECTION_TYPE))
        return [str(conn_id) for conn_id in found]
