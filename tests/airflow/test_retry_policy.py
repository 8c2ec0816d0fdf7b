"""Airflow's own retries come when the server says: Airflow has retry policies from 3.3 on."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import RetryAction
from airflow_home import DagRunner

from makini_provider.api.errors import MakiniRateLimitError, MakiniServerError
from makini_provider.operators.retry_policy import MakiniRetryPolicy
from makini_provider.operators.sync import MakiniInitialSyncOperator
from makini_provider.sandbox import Behaviour, Sandbox

pytestmark = pytest.mark.airflow


def test_a_rate_limit_is_retried_when_the_server_says(runner: DagRunner, tmp_path: Path) -> None:
    limited = Behaviour(fault_sequence=("429",), retry_after="4")
    with Sandbox(token="tok-limited-4711", records=30, behaviour=limited) as sandbox:
        connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
        began = time.monotonic()
        run = runner.run(
            "patient_sync",
            {
                "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
                "MAKINI_DESTINATION": f"file://{tmp_path}/landing",
            },
        )
    assert run.state == "success"
    assert [task.try_number for task in run.tasks] == [2]
    assert 4 <= time.monotonic() - began < 60
    assert "(HTTP 429, code RATE_LIMIT_EXCEEDED, request ID req-" in run.output
    assert "retry after 4 s" in run.output
    assert "requests_per_minute" in run.output


def test_a_connection_that_is_not_found_is_looked_up_again_since_its_backend_may_be_down(
    runner: DagRunner,
) -> None:
    run = runner.run("prompt_sync", {})
    assert [(task.state, task.try_number) for task in run.tasks] == [("failed", 3)]
    assert "connection 'makini_default' (makini_conn_id) does not exist, or can't be read now" in run.output
    assert "AIRFLOW_CONN_MAKINI_DEFAULT" in run.output


def test_the_policy_waits_as_long_as_the_server_says_and_else_decides_nothing() -> None:
    policy = MakiniRetryPolicy()
    decision = policy.evaluate(MakiniRateLimitError("slow down", retry_after=90), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=90))
    assert "90 s" in str(decision.reason)
    for error in (MakiniServerError("broken"), ValueError("broken")):
        assert policy.evaluate(error, 1, 3).action == RetryAction.DEFAULT


def test_operators_have_the_policy_unless_another_is_given() -> None:
    arguments = {"resource": "eam/work-orders", "destination": "file:///data"}
    assert isinstance(MakiniInitialSyncOperator(task_id="a", **arguments).retry_policy, MakiniRetryPolicy)
    assert MakiniInitialSyncOperator(task_id="b", retry_policy=None, **arguments).retry_policy is None
