"""Airflow, where a page's promise needs it, in a home that is thrown away."""

from __future__ import annotations

import os
import tempfile

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))
