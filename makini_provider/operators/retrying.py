"""How long Airflow waits before it tries a task again: as long as the server says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import airflow.sdk

_LONGEST_WAIT = timedelta(hours=1)


def retry_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Add the retry policy to an operator's arguments, where Airflow has such (3.3) and none is given."""
    if hasattr(airflow.sdk, "RetryPolicy"):
        arguments.setdefault("retry_policy", _policy())
    return arguments


def _policy() -> Any:
    from makini_provider.operators.retry_policy import MakiniRetryPolicy

    return MakiniRetryPolicy()


def retry_delay(error: BaseException) -> timedelta | None:
    """The wait that the server asked for, if it did.

    :param error: what the task failed with; its causes count too
    """
    cause: BaseException | None = error
    while cause is not None:
        seconds = getattr(cause, "retry_after", None)
        if isinstance(seconds, int | float):
            return min(timedelta(seconds=seconds), _LONGEST_WAIT)
        cause = cause.__cause__
    return None
