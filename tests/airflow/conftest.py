"""Real Airflow, a Makini API, and what landed."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

# Airflow reads its configuration at its first import: nothing inherited, and a home that is thrown away.
if "airflow" not in sys.modules:
    for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[_name]
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

import airflow.sdk
import pytest
from airflow_home import AirflowHome, DagRunner, dag_runner

# An older Airflow has no retry policies: then there is nothing to test.
collect_ignore = [] if hasattr(airflow.sdk, "RetryPolicy") else ["test_retry_policy.py"]


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """An Airflow with an empty, migrated database."""
    home = AirflowHome(tmp_path_factory.mktemp("airflow"))
    migrated = home.airflow("db", "migrate")
    assert migrated.code == 0, migrated.output
    return home


@pytest.fixture(scope="session")
def runner(airflow_home: AirflowHome) -> Iterator[DagRunner]:
    """Runs DAGs of that Airflow."""
    with dag_runner(airflow_home) as runner:
        yield runner
