"""A task keeps rotating tokens in an Airflow Variable, through Airflow's API."""

from __future__ import annotations

import json

import pytest
from airflow_home import AirflowHome, DagRunner

pytestmark = pytest.mark.airflow


def test_a_task_keeps_tokens_and_another_reads_them(airflow_home: AirflowHome, runner: DagRunner) -> None:
    run = runner.run("keeps_tokens", {"MAKINI_TEST_STORE": "variable://"})
    assert run.state == "success", run.output
    assert [task.receipt for task in run.tasks] == ["access of 2026", None]
    ((value, encrypted),) = airflow_home.rows(
        "SELECT val, is_encrypted FROM variable WHERE key = 'makini_acme_tokens'"
    )
    assert encrypted
    assert "4711" not in value


def test_a_variable_that_something_outranks_is_told(runner: DagRunner) -> None:
    older = {
        "format_version": 1,
        "connection": "acme",
        "tokens": {"access_token": "a", "refresh_token": "r", "obtained_at": "2026-01-01T00:00:00Z"},
    }
    environment = {
        "MAKINI_TEST_STORE": "variable://shadowed_tokens",
        "AIRFLOW_VAR_SHADOWED_TOKENS": json.dumps(older),
    }
    run = runner.run("keeps_tokens", environment)
    assert run.state == "failed"
    assert "which outranks the database" in run.output
