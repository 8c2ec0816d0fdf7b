"""Mounts the webhook receiver in Airflow's api-server, where ``MAKINI_WEBHOOK_PLUGIN`` is true.

Airflow imports plugins in every process of its own, tasks included: nothing is imported here that is not
there already, and the receiver only when an api-server asks for it.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)


class MakiniPlugin(AirflowPlugin):
    """The plugin, found by its entry point."""

    name = "makini"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """What the api-server mounts: the receiver at ``/makini``, or nothing. Never raises."""
        if os.environ.get("MAKINI_WEBHOOK_PLUGIN", "").strip().lower() not in ("true", "1"):
            return []
        try:
            from makini_provider.webhooks.setup import make_receiver

            receiver = make_receiver(prefix="", limited=True)
        except Exception as error:  # an exception here would end the api-server
            log.error("The webhook receiver is not mounted: %s", error)  # noqa: TRY400
            return []
        return [{"app": receiver, "url_prefix": "/makini", "name": "Makini webhooks"}]
