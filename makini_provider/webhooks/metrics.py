"""What is counted about webhooks, in Airflow's metrics (statsd, OpenTelemetry).

A metric never fails what it is about: without Airflow's metrics switched on, nothing happens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import signature
from typing import Any, Final

from makini_provider.webhooks.inbox import Counts

log = logging.getLogger(__name__)

PREFIX: Final = "makini.webhooks"


def initialize() -> None:
    """Set Airflow's metrics up in a process where nobody else does; never fails."""
    try:
        from airflow.sdk.configuration import conf
        from airflow.sdk.observability.metrics import stats_utils

        # Airflow 3.2 hands the class in; from 3.3 on there are names from before that may be kept.
        get_factory: Callable[..., Any] = stats_utils.get_stats_factory
        takes_class = bool(signature(get_factory).parameters)
        factory = get_factory(_stats()) if takes_class else get_factory()
        names = {} if takes_class else {"export_legacy_names": conf.getboolean("metrics", "legacy_names_on")}
        _stats().initialize(factory=factory, **names)
    except Exception as error:  # as in the api-server: no metrics, and all else works
        log.warning("Airflow's metrics can't be set up: %s", error)


def count(what: str, *, endpoint: str | None = None, number: int = 1) -> None:
    """Count ``received``, ``rejected.<reason>``, ``processed``, ``retried``, ``dead`` and the like."""
    _stats().incr(f"{PREFIX}.{what}", number, tags={"endpoint": endpoint} if endpoint else None)


def landed(seconds: float, *, endpoint: str) -> None:
    """An event is processed, so many seconds after its receipt."""
    _stats().timing(f"{PREFIX}.receipt_to_landed", seconds * 1_000, tags={"endpoint": endpoint})


def gauges(counts: Counts) -> None:
    """How many events are waiting, claimed and dead, and how old the oldest is."""
    _stats().gauge(f"{PREFIX}.waiting", counts.waiting)
    _stats().gauge(f"{PREFIX}.claimed", counts.claimed)
    _stats().gauge(f"{PREFIX}.dead_letters", counts.dead)
    _stats().gauge(f"{PREFIX}.oldest_seconds", counts.oldest.total_seconds() if counts.oldest else 0.0)


def _stats() -> Any:
    # Imported here: Airflow takes a second and a half to import, and who counts nothing does without.
    from airflow.sdk.observability.stats import Stats

    return Stats
