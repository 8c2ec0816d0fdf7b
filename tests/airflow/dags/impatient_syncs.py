"""Syncs whose requests are sent once only, so that Airflow's own retries can be watched."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any
from unittest import mock

from airflow.sdk import DAG

from makini_provider.operators.sync import MakiniInitialSyncOperator


class ImpatientSyncOperator(MakiniInitialSyncOperator):
    def execute(self, context: Any) -> dict[str, Any]:
        from makini_provider.api import transport

        with mock.patch.object(transport.RetryPolicy.__init__, "__defaults__", (1, 0.5, 30.0, 120.0)):
            return super().execute(context)


# Without the server's word a retry would come after minutes, or after a second.
for name, delay in (("patient", timedelta(minutes=10)), ("prompt", timedelta(seconds=1))):
    with DAG(f"{name}_sync", schedule=None):
        ImpatientSyncOperator(
            task_id="sync",
            resource="eam/work-orders",
            destination=os.environ.get("MAKINI_DESTINATION", "file:///nowhere"),
            retries=2,
            retry_delay=delay,
        )

# An argument that is known only while it runs, and can't be used.
with DAG("mapped_sync", schedule=None):
    MakiniInitialSyncOperator.partial(
        task_id="sync", destination="file:///nowhere", retries=2, retry_delay=timedelta(seconds=2)
    ).expand(resource=["eam/workorders"])
