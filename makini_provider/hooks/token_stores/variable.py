"""Tokens in an Airflow Variable: no other service, and encrypted with Airflow's Fernet key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from airflow.sdk.log import redact  # type: ignore[attr-defined]

from makini_provider.hooks.token_stores.document import Place, unreachable, unusable
from makini_provider.hooks.token_stores.location import Location

_DESCRIPTION: Final = "Tokens of a Makini connection; written by its provider."
_LONGEST_KEY: Final = 250


def place(location: Location, conn_id: str) -> Place:
    """Return the Variable that a URI names; one named after the connection where it names none.

    :raises MakiniConfigurationError: the name can't be used, or Airflow would show the value
    """
    location.refuse_login()
    location.allow_options()
    key = location.path or f"makini_{conn_id}_tokens"
    if len(key) > _LONGEST_KEY:
        raise location.unusable(f"names a Variable of more than {_LONGEST_KEY} characters")
    # Airflow hides the value of a Variable, in the UI and in logs, where its key says that it is sensitive.
    if redact("shown", key) == "shown":
        raise location.unusable(
            "names a Variable whose value Airflow would show in the UI",
            "Airflow hides what has 'token' or 'secret' in its name: name it like "
            f"'makini_{conn_id}_tokens', or write 'variable://' for that.",
        )
    return _Variable(key)


class _Variable:
    """One Airflow Variable: through the Execution API in a task, in the database where there is none."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.name = f"variable:{key}"

    def read(self) -> str | None:
        with self._failures("read"):
            return _task_read(self._key) if _in_task() else _database_read(self._key)

    def write(self, text: str) -> None:
        with self._failures("written"):
            (_task_write if _in_task() else _database_write)(self._key, text)
        # A secrets backend or AIRFLOW_VAR_… that has the key outranks the database, at every read to come.
        if self.read() != text:
            raise unusable(
                self.name,
                "read back",
                "the tokens were written, and reading gives another value",
                "An environment variable AIRFLOW_VAR_… or a secrets backend has a Variable of this name, "
                "which outranks the database: remove it there, or choose another name.",
            )

    @contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        try:
            yield
        except _NotDecryptableError:
            raise unusable(
                self.name,
                operation,
                "its value can't be decrypted",
                "Give this process the Fernet key that the value was written with ([core] fernet_key), the "
                "older keys after it.",
            ) from None
        except Exception as error:
            # Without the cause itself: an answer to a refused write may quote what was to be written.
            raise unreachable(
                self.name,
                operation,
                _kind(error),
                "Airflow's API server (in a task) or its database (elsewhere) did not do it: check that it "
                "runs and that this process may use it.",
            ) from None


class _NotDecryptableError(Exception):
    pass


def _in_task() -> bool:
    """Whether Airflow runs user code here, which it lets reach its database through its API only.

    As Airflow's own models tell it.
    """
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")


def _task_read(key: str) -> str | None:
    # Not Variable.get, which says "not found" also where the API server could not be asked: a token that
    # was spent long ago would then be taken from the connection again.
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

    answer = task_runner.SUPERVISOR_COMMS.send(GetVariable(key=key))
    if isinstance(answer, ErrorResponse):
        if answer.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise AirflowRuntimeError(answer)
    if not isinstance(answer, VariableResult):
        raise TypeError(type(answer).__name__)
    return None if answer.value is None else str(answer.value)


def _task_write(key: str, text: str) -> None:
    from airflow.sdk import Variable

    Variable.set(key, text, description=_DESCRIPTION)


def _database_read(key: str) -> str | None:
    # Not Variable.get, for the same reason: it goes on where the database fails.
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        variable = session.scalar(select(Variable).where(Variable.key == key))
        if variable is None:
            return None
        text = variable.get_val()
    if text is None:
        raise _NotDecryptableError
    return str(text)


def _database_write(key: str, text: str) -> None:
    from airflow.models.variable import Variable

    Variable.set(key, text, description=_DESCRIPTION)


def _kind(error: Exception) -> str:
    response = getattr(error, "error", None)
    kind = getattr(getattr(response, "error", None), "value", None)
    return str(kind) if kind else type(error).__name__
