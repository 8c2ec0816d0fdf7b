"""A destination on local disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

import pytest

from makini_provider.destinations.files.destination import FilesDestination


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The destination's folder."""
    return tmp_path / "landing"


@pytest.fixture
def destination(root: Path) -> FilesDestination:
    return FilesDestination(f"file://{root}")
