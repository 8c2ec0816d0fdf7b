"""Metrics as a statsd server gets them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from datetime import timedelta
from makini_provider.webhooks import metrics
from makini_provider.webhooks.inbox import Counts
metrics.initialize()
metrics.count("received", endpoint="plant")
metrics.count("rejected.signature", number=3)
metrics.landed(1.5, endpoint="plant")
metrics.gauges(Counts(waiting=4, claimed=3, dead=2, done=1, oldest=timedelta(seconds=90)))
"""


def test_metrics_reach_statsd_from_a_process_that_is_not_airflows(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(5)
        finished = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={
                "PATH": os.defpath,
                "AIRFLOW_HOME": str(tmp_path),
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stderr
        sent: set[str] = set()
        while len(sent) < 7:
            metric = statsd.recv(1_000).decode()
            # Airflow may have some of its own to send, too.
            sent |= {metric} if ".makini." in metric else set()
    assert sent == {
        "airflow.makini.webhooks.received:1|c",
        "airflow.makini.webhooks.rejected.signature:3|c",
        "airflow.makini.webhooks.receipt_to_landed:1500.000000|ms",
        "airflow.makini.webhooks.waiting:4|g",
        "airflow.makini.webhooks.claimed:3|g",
        "airflow.makini.webhooks.dead_letters:2|g",
        "airflow.makini.webhooks.oldest_seconds:90.0|g",
    }
