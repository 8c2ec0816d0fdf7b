"""An S3 server for tests that reach it from other processes too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

import pytest


@pytest.fixture(scope="session")
def pond() -> Iterator[str]:
    """The URL of an S3 server with a bucket, which the connection ``pond`` opens."""
    from airflow.sdk.io import attach

    from tests.destinations.object_store import Bucket, client, serving

    with serving() as url:
        Bucket(url)
        attach("s3", "pond", fs=client(url))
        yield url
