"""The Airflow connection that a token store logs in with."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from makini_provider.hooks.token_stores.document import unreachable


def check_login(store: str, conn_id: str) -> None:
    """Check that an Airflow connection is there, before a hook of Airflow's is made of it.

    One of those raises an error of its own, the other goes on with credentials that were not meant, and would
    keep the tokens elsewhere.

    :param store: the token store, for the message
    :param conn_id: the connection that its URI names
    :raises TokenStoreError: Airflow finds none; a retry helps where its secrets backend was down
    """
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise unreachable(
            store,
            "opened",
            f"Airflow finds no connection {conn_id!r}",
            "Add it, or correct what stands before '@'. Where it is there: Airflow says the same when its "
            "secrets backend does not answer.",
        ) from None
