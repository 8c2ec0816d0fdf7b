"""An operator that keeps a connection's pair of tokens from running out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from makini_provider.api.errors import MakiniError, UnknownConnectionError
from makini_provider.operators.retrying import retry_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context


class MakiniTokenRotationOperator(BaseOperator):
    """Replaces the pair of tokens of a refresh token's connection, once half of its life is over.

    Skips a connection with another way in. Run it for one connection at a time, each day or so.

    :param makini_conn_id: Airflow connection (templated)
    :return: how the pair stands: ``conn_id``, ``token_store``, ``refreshed``, ``obtained_at``, ``age_days``,
        ``expires_at``, ``days_left``; never a token
    """

    template_fields: Sequence[str] = ("makini_conn_id",)
    ui_color = "#e8f0fe"

    def __init__(self, *, makini_conn_id: str = "makini_default", **kwargs: Any) -> None:
        super().__init__(**retry_arguments(kwargs))
        self.makini_conn_id = makini_conn_id

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Replace the pair where it is due, and return how it stands."""
        from makini_provider.hooks.makini import MakiniHook

        try:
            with MakiniHook(self.makini_conn_id) as hook:
                report = hook.rotate_tokens()
        except UnknownConnectionError as error:
            # A customer of an application, as MAKINI_CONN_IDS may name one; it has no pair.
            if "/" in self.makini_conn_id:
                raise AirflowSkipException(str(error)) from error
            raise
        except MakiniError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
        if report is None:
            raise AirflowSkipException(
                f"connection {self.makini_conn_id!r} has no refresh token: there is nothing to rotate."
            )
        self.log.info(
            "The pair in %s is %.1f days old%s; its access token ends %s.",
            report["token_store"],
            report["age_days"],
            " and was replaced just now" if report["refreshed"] else "",
            f"in {report['days_left']:.1f} days" if report["days_left"] is not None else "at an unknown time",
        )
        return {"conn_id": self.makini_conn_id, **report}
