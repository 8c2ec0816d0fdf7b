"""What the example DAGs sync: streams from settings and from the form of a run, as flat items to map over."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from airflow.sdk import CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.resources import catalogue, get_resource
from makini_provider.destinations.uri import check_destination
from makini_provider.operators.sync import no_retry_mends_it
from makini_provider.sync.streams import Source
from makini_provider.sync.windows import parse_time

MOST_ITEMS: Final = 1000
"""Airflow maps over no more than this ([core] max_map_length)."""

DEFAULT_RESOURCES: Final = (
    "eam/sites",
    "eam/locations",
    "eam/assets",
    "eam/meters",
    "eam/work-orders",
    "eam/service-requests",
    "eam/purchase-orders",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSettings:
    """Settings of the example DAGs, each with a default.

    :param conn_ids: Airflow connections, or ``conn_id/makini_connection`` (``MAKINI_CONN_IDS``,
        comma-separated); an application's stands for all of its Makini connections
    :param resources: resources, ``eam/*`` for all of a domain (``MAKINI_RESOURCES``, comma-separated)
    :param destination: where records land (``MAKINI_DESTINATION``)
    :param history: how far the initial sync goes back (``MAKINI_HISTORY_DAYS``)
    :param lookback: how far the start of an incremental sync is pulled back (``MAKINI_LOOKBACK_MINUTES``)
    :param schedule: cron expression of the incremental sync, in UTC (``MAKINI_SCHEDULE``)
    :param rotation_schedule: cron expression of the token rotation, in UTC (``MAKINI_ROTATION_SCHEDULE``)
    :param webhook_schedule: cron expression at which the inbox of webhooks is looked into beside its wake-ups
        (``MAKINI_WEBHOOK_SCHEDULE``)
    :param webhook_linger: how long the worker of the inbox looks for further webhooks after the last
        (``MAKINI_WEBHOOK_LINGER_SECONDS``)
    :param webhook_oldest: how long a webhook may wait before the health check fails
        (``MAKINI_WEBHOOK_OLDEST_MINUTES``)
    :param webhook_dead: at so many dead letters it fails (``MAKINI_WEBHOOK_DEAD_LETTERS``)
    :param webhook_rejected: at this share of refused requests it fails (``MAKINI_WEBHOOK_REJECTED_PERCENT``)
    :param webhook_silent: how long none may come in while the syncs find changes
        (``MAKINI_WEBHOOK_SILENT_HOURS``)
    :param health_schedule: cron expression of the health checks, in UTC (``MAKINI_HEALTH_SCHEDULE``)
    :param stale_after: how old a watermark may be (``MAKINI_STALE_HOURS``)
    :param notifier: import path of what is called where a check fails (``MAKINI_NOTIFIER``)
    :param webhook_lease: how long a batch of webhooks may take before another worker may have it
        (``MAKINI_WEBHOOK_LEASE_SECONDS``)
    :param pool: Airflow pool for the sync tasks, which must exist (``MAKINI_POOL``)
    """

    conn_ids: Sequence[str]
    resources: Sequence[str]
    destination: str
    history: timedelta
    lookback: timedelta
    schedule: str
    rotation_schedule: str
    webhook_schedule: str
    webhook_linger: timedelta
    health_schedule: str
    stale_after: timedelta
    notifier: str | None
    webhook_lease: timedelta
    webhook_oldest: timedelta
    webhook_dead: int
    webhook_rejected: float
    webhook_silent: timedelta
    pool: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> DagSettings:
        """Read the settings from environment variables.

        :raises MakiniConfigurationError: names the variable, its value and the way out
        """
        home = Path(environment.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
        settings = cls(
            conn_ids=_names(environment.get("MAKINI_CONN_IDS")) or ["makini_default"],
            resources=_names(environment.get("MAKINI_RESOURCES")) or DEFAULT_RESOURCES,
            destination=environment.get("MAKINI_DESTINATION") or f"file://{home}/makini-data",
            history=timedelta(days=_number(environment, "MAKINI_HISTORY_DAYS", 90)),
            lookback=timedelta(minutes=_number(environment, "MAKINI_LOOKBACK_MINUTES", 60)),
            schedule=environment.get("MAKINI_SCHEDULE") or "0 * * * *",
            rotation_schedule=environment.get("MAKINI_ROTATION_SCHEDULE") or "30 3 * * *",
            webhook_schedule=environment.get("MAKINI_WEBHOOK_SCHEDULE") or "*/10 * * * *",
            webhook_linger=timedelta(seconds=_number(environment, "MAKINI_WEBHOOK_LINGER_SECONDS", 5)),
            health_schedule=environment.get("MAKINI_HEALTH_SCHEDULE") or "*/30 * * * *",
            stale_after=timedelta(hours=_number(environment, "MAKINI_STALE_HOURS", 26)),
            notifier=environment.get("MAKINI_NOTIFIER") or None,
            webhook_lease=timedelta(seconds=_number(environment, "MAKINI_WEBHOOK_LEASE_SECONDS", 600)),
            webhook_oldest=timedelta(minutes=_number(environment, "MAKINI_WEBHOOK_OLDEST_MINUTES", 30)),
            webhook_dead=math.ceil(_number(environment, "MAKINI_WEBHOOK_DEAD_LETTERS", 1)),
            webhook_rejected=_number(environment, "MAKINI_WEBHOOK_REJECTED_PERCENT", 50) / 100,
            webhook_silent=timedelta(hours=_number(environment, "MAKINI_WEBHOOK_SILENT_HOURS", 24)),
            pool=environment.get("MAKINI_POOL") or None,
        )
        # A mapped operator checks its arguments when it runs: here they are checked as the DAG is parsed.
        with _names_the_setting("MAKINI_RESOURCES"):
            expand_resources(settings.resources)
        with _names_the_setting("MAKINI_DESTINATION"):
            check_destination(settings.destination)
        _check_schedule("MAKINI_SCHEDULE", settings.schedule)
        _check_schedule("MAKINI_ROTATION_SCHEDULE", settings.rotation_schedule)
        _check_schedule("MAKINI_WEBHOOK_SCHEDULE", settings.webhook_schedule)
        _check_schedule("MAKINI_HEALTH_SCHEDULE", settings.health_schedule)
        return settings

    @property
    def task_arguments(self) -> dict[str, Any]:
        """Arguments for the sync task that only some deployments have."""
        return {"pool": self.pool} if self.pool else {}

    def load_notifiers(self) -> list[Callable[..., Any]]:
        """What ``notifier`` names: an Airflow notifier, a function that takes the context, or several.

        :raises MakiniConfigurationError: there is no such thing
        """
        if not self.notifier:
            return []
        module, _, name = self.notifier.rpartition(".")
        try:
            named = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise MakiniConfigurationError(
                f"MAKINI_NOTIFIER is {self.notifier!r}: {error}.",
                remedy="Give the import path of a notifier, such as my_alerts.makini, in a module that the "
                "dag-processor and the workers can import.",
            ) from error
        notifiers = named if isinstance(named, list | tuple) else [named]
        for one in notifiers:
            if isinstance(one, type) or not callable(one):
                raise MakiniConfigurationError(
                    f"MAKINI_NOTIFIER names {one!r}, which can't be called with a task's context.",
                    remedy="Name a notifier that is made already, as "
                    "my_alerts.makini = SlackNotifier(...), or a function.",
                )
        return [_fresh(one) for one in notifiers]


def _fresh(notifier: Callable[..., Any]) -> Callable[..., Any]:
    """Call a copy each time: a notifier keeps what its templates first became."""

    def notify(context: Any) -> Any:
        return copy(notifier)(context)

    return notify


def run_form() -> dict[str, Param]:
    """The params of a sync run, as the form behind **Trigger** shows them; empty ones change nothing."""
    return {
        "connections": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Connections",
            description="Airflow connections, one a line; conn_id/makini_connection for one customer of an "
            "application. Empty: those of MAKINI_CONN_IDS.",
        ),
        "resources": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Resources",
            description="Such as eam/work-orders or eam/*, one a line. Empty: those of MAKINI_RESOURCES.",
        ),
        "window_start": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="From",
            description="Start of what is read, instead of the one that the sync finds by itself.",
        ),
        "window_end": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="To",
            description="End of what is read, instead of the one that the sync finds by itself.",
        ),
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Read the whole history again. Readers see the old records until that is complete.",
        ),
    }


def plan_sources(
    settings: DagSettings,
    params: Mapping[str, Any],
    sources: Callable[[str], Sequence[Source]] | None = None,
) -> list[dict[str, Any]]:
    """The sources of a run, as arguments of the gate.

    What no retry mends fails the task at once.

    :param settings: what is synced where the run's form says nothing
    :param params: of the run: ``connections``
    :param sources: whose data a name in ``connections`` stands for; by default
        :func:`~makini_provider.operators.customers.sources_of`, which asks Airflow and Makini
    """
    from makini_provider.operators.customers import sources_of

    names = _chosen(params.get("connections")) or settings.conn_ids
    with no_retry_mends_it():
        found = [source for name in dict.fromkeys(names) for source in (sources or sources_of)(name)]
    return [
        {"makini_conn_id": source.conn_id, "makini_connection": source.makini_connection}
        for source in dict.fromkeys(found)
    ]


def plan_streams(
    settings: DagSettings, params: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every source with every resource, as arguments of the sync operators.

    What no retry mends fails the task at once.

    :param settings: what is synced where the run's form says nothing
    :param params: of the run: ``resources``, ``window_start``, ``window_end``, ``full_refresh``
    :param sources: what :func:`plan_sources` found
    :raises MakiniConfigurationError: a resource is unknown, a time is none or has no time zone, or there are
        more items than Airflow maps over
    """
    with no_retry_mends_it():
        return _planned(settings, params, sources)


def plan_items(
    settings: DagSettings,
    params: Mapping[str, Any],
    sources: Callable[[str], Sequence[Source]] | None = None,
) -> list[dict[str, Any]]:
    """:func:`plan_sources` and :func:`plan_streams` in one, for a DAG without a gate."""
    return plan_streams(settings, params, plan_sources(settings, params, sources))


def _planned(
    settings: DagSettings, params: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    resources = expand_resources(_chosen(params.get("resources")) or settings.resources)
    for name in ("window_start", "window_end"):
        # Airflow checks a form's times only where an optional package is installed.
        parse_time(name, params.get(name))
    run = {
        "window_start": params.get("window_start") or None,
        "window_end": params.get("window_end") or None,
        "full_refresh": bool(params.get("full_refresh")),
    }
    items = [{**source, "resource": resource, **run} for source in sources for resource in resources]
    if len(items) > MOST_ITEMS:
        raise MakiniConfigurationError(
            f"{len(items)} streams are more than the {MOST_ITEMS} that Airflow maps over.",
            remedy="Split MAKINI_CONN_IDS or MAKINI_RESOURCES over several DAGs.",
        )
    return items


def expand_resources(names: Sequence[str]) -> list[str]:
    """Write ``eam/*`` out as all resources of the domain that can be synced, and check all others.

    :raises UnknownResourceError: names the nearest ones
    """
    expanded: dict[str, None] = {}
    for name in names:
        domain, star, _ = name.partition("/*")
        matches = (
            [r.name for r in catalogue().values() if r.domain == domain and r.parent is None] if star else []
        )
        expanded.update(dict.fromkeys(matches or [get_resource(name).name]))
    return list(expanded)


@contextmanager
def _names_the_setting(name: str) -> Iterator[None]:
    try:
        yield
    except MakiniConfigurationError as error:
        raise MakiniConfigurationError(f"{name}: {error.message}", remedy=error.remedy) from error


def _check_schedule(name: str, text: str) -> None:
    try:
        CronDataIntervalTimetable(text, timezone="UTC").validate()
    except AirflowException as error:
        raise MakiniConfigurationError(
            f"{name} is {text!r}: {error}",
            remedy="Write a cron expression such as '0 * * * *' for every full hour.",
        ) from error


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _chosen(value: Any) -> list[str]:
    """What the form gives: a list, or text with commas."""
    return _names(value) if isinstance(value, str) else [str(item).strip() for item in value or () if item]


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 100_000:
        raise MakiniConfigurationError(
            f"{name} is {text!r}.", remedy=f"Set it to a number such as {default:g}."
        )
    return number
