"""What is counted about webhooks, in Airflow's metrics (statsd, OpenTelemetry).

A metric never fails what it is about: without Airflow's metrics switched on, nothing happens.
"""

from __future__ import annotations

from typing import Final

from makini_provider.webhooks.inbox import Counts

PREFIX: Final = "makini.webhooks"


def initialize() -> None:
    """Set Airflow's metrics up in a process that is not Airflow's own."""
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    stats.initialize(
        factory=stats_utils.get_stats_factory(),
        export_legacy_names=conf.getboolean("metrics", "legacy_names_on", fallback=True),
    )


def count(what: str, *, endpoint: str | None = None, number: int = 1) -> None:
    """Count ``received``, ``rejected.<reason>``, ``processed``, ``retried``, ``dead`` and the like."""
    from airflow.sdk.observability import stats

    stats.incr(f"{PREFIX}.{what}", number, tags={"endpoint": endpoint} if endpoint else None)


def landed(seconds: float, *, endpoint: str) -> None:
    """An event is processed, so many seconds after its receipt."""
    from airflow.sdk.observability import stats

    stats.timing(f"{PREFIX}.receipt_to_landed", seconds * 1_000, tags={"endpoint": endpoint})


def gauges(counts: Counts) -> None:
    """How many events are waiting, claimed and dead, and how old the oldest is."""
    from airflow.sdk.observability import stats

    stats.gauge(f"{PREFIX}.waiting", counts.waiting)
    stats.gauge(f"{PREFIX}.claimed", counts.claimed)
    stats.gauge(f"{PREFIX}.dead_letters", counts.dead)
    stats.gauge(f"{PREFIX}.oldest_seconds", counts.oldest.total_seconds() if counts.oldest else 0.0)
