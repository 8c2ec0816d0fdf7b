"""The retry policy of Airflow 3.3; older ones have none, and never import this module."""

from __future__ import annotations

from airflow.sdk import Context, RetryDecision, RetryPolicy

from makini_provider.operators.retrying import retry_delay


class MakiniRetryPolicy(RetryPolicy):
    """Waits as long as the server's ``Retry-After`` says; without one, as the task's own settings say."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the exception."""
        delay = retry_delay(exception)
        if delay is None:
            return RetryDecision.default()
        return RetryDecision.retry(delay=delay, reason=f"Makini asked to wait {delay.total_seconds():.0f} s")
