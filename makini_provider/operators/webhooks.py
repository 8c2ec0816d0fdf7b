"""The operator that works off the inbox of webhooks, and what is to be done after it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from makini_provider.api.errors import MakiniError, MakiniInboxError
from makini_provider.destinations.uri import check_destination
from makini_provider.operators.retrying import retry_arguments
from makini_provider.sync.windows import parse_duration

if TYPE_CHECKING:
    from airflow.sdk import Context

    from makini_provider.api.client import MakiniClient
    from makini_provider.sync.streams import Source
    from makini_provider.webhooks.inbox import Inbox
    from makini_provider.webhooks.processing import Binding, Drained

DOMAINS: Final = ("eam", "erp", "wms")
ANNOUNCED: Final = ("sites", "assets", "purchase-orders", "work-orders")
"""What Makini's data events are about."""


class MakiniWebhookOperator(BaseOperator):
    """Work off the webhooks that wait in the inbox, and forget those that were finished long ago.

    Each key of a data event is asked for at the API, and what comes lands beside what the syncs have brought;
    the watermark stays where it is. One task at a time is enough; several do no harm.

    :param destination: where the records of an endpoint land that names no destination of its own (templated)
    :param makini_conn_ids: sources of an endpoint that names none
    :param max_duration: after which no further batch is begun: what waits is for the next run
    :param linger: how long it looks for further events after the last. What comes in a row lands at once,
        and a trigger that looks more often than that has seen the inbox empty when the task ends, so that the
        next event wakes it up again
    :param events_per_batch: events that are claimed together, and land as one commit of each stream
    :param lease: how long a batch may take before another worker may have its events
    :param file_format: of the data files: ``jsonl``
    :param compression: of the data files: ``gzip``, ``zstd`` or ``none``
    :return: the receipt: counts by type, stream and reason, and what platform events ask for
    :raises MakiniConfigurationError: a parameter can't be used
    """

    template_fields: Sequence[str] = ("destination",)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        destination: str,
        makini_conn_ids: Sequence[str] = ("makini_default",),
        max_duration: timedelta | float = timedelta(minutes=15),
        linger: timedelta | float = timedelta(seconds=5),
        events_per_batch: int = 500,
        lease: timedelta | float = timedelta(minutes=10),
        file_format: str = "jsonl",
        compression: str = "gzip",
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_arguments(kwargs))
        self.destination = destination
        self.makini_conn_ids = makini_conn_ids
        self.max_duration = parse_duration("max_duration", max_duration) or timedelta(minutes=15)
        self.linger = parse_duration("linger", linger, zero=True) or timedelta(0)
        self.events_per_batch = events_per_batch
        self.lease = parse_duration("lease", lease) or timedelta(minutes=10)
        self.file_format = file_format
        self.compression = compression
        if "{{" not in destination:
            check_destination(destination, file_format=file_format, compression=compression)

    def execute(self, context: Context) -> dict[str, Any]:
        """Work off what waits and return the receipt."""
        from makini_provider.webhooks.processing import Processor
        from makini_provider.webhooks.settings import WebhookSettings
        from makini_provider.webhooks.setup import open_inbox

        settings = WebhookSettings.from_environment()
        try:
            with closing(open_inbox(settings)) as inbox:
                processor = Processor(
                    inbox,
                    binding_of=self._binding_of,
                    client_of=_client_of,
                    destination_of=self._destination_of,
                    worker=f"{context['ti'].dag_id}/{context['ti'].run_id}",
                    run_id=f"{context['ti'].dag_id}/{context['ti'].run_id}",
                    events_per_batch=self.events_per_batch,
                    lease=self.lease,
                )
                drained = processor.drain(at_most=self.max_duration, linger=self.linger)
                try:
                    inbox.forget(settings.retention)
                    _measure(drained, inbox)
                except MakiniInboxError as error:
                    # The receipt is the only word of what platform events ask for.
                    self.log.warning("What follows the work waits for the next run: %s", error)
        except MakiniError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
        return drained.receipt()

    def _binding_of(self, endpoint: str) -> Binding:
        return _binding(endpoint, self.makini_conn_ids, self.destination)

    def _destination_of(self, uri: str) -> Any:
        from makini_provider.destinations.files.destination import FilesDestination

        return FilesDestination(uri, file_format=self.file_format, compression=self.compression)


class MakiniWebhookCheckOperator(BaseOperator):
    """Fails where webhooks do not come in, or are not worked off.

    :param destination: where the records of an endpoint land that names no destination of its own (templated)
    :param makini_conn_ids: sources of an endpoint that names none
    :param oldest: age of the oldest event that is not finished, as a timedelta or in days
    :param dead: so many dead letters are too many
    :param rejected: share of the requests of the last hour that were refused
    :param silent: how long no webhook has come in while the syncs have found changes; more than two of their
        intervals and their lookback
    :return: the counts of the inbox
    """

    template_fields: Sequence[str] = ("destination",)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        destination: str,
        makini_conn_ids: Sequence[str] = ("makini_default",),
        oldest: timedelta | float = timedelta(minutes=30),
        dead: int = 1,
        rejected: float = 0.5,
        silent: timedelta | float = timedelta(hours=24),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.makini_conn_ids = makini_conn_ids
        self.oldest = parse_duration("oldest", oldest) or timedelta(minutes=30)
        self.dead = dead
        self.rejected = rejected
        self.silent = parse_duration("silent", silent) or timedelta(hours=24)

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Look into the inbox."""
        from makini_provider.webhooks.health import Thresholds, troubles
        from makini_provider.webhooks.settings import WebhookSettings
        from makini_provider.webhooks.setup import open_inbox

        settings = WebhookSettings.from_environment()
        thresholds = Thresholds(
            oldest=self.oldest, dead=self.dead, rejected=self.rejected, silent=self.silent
        )
        with closing(open_inbox(settings)) as inbox:
            found = list(troubles(inbox, settings.endpoints, thresholds, changed=self._changed))
            counts = inbox.counts()
        if found:
            raise AirflowFailException("\n".join(found))
        return {"waiting": counts.waiting, "claimed": counts.claimed, "dead": counts.dead}

    def _changed(self, endpoint: str, within: timedelta) -> bool:
        """Whether a sync has brought records whose whole window lies in that time."""
        from makini_provider.api.resources import catalogue
        from makini_provider.destinations.files.destination import FilesDestination
        from makini_provider.sync.streams import Stream

        binding = _binding(endpoint, self.makini_conn_ids, self.destination)
        destination = FilesDestination(binding.destination)
        since = datetime.now(UTC) - within
        names = (f"{domain}/{name}" for domain in binding.domains for name in ANNOUNCED)
        resources = [catalogue()[name] for name in names if name in catalogue()]
        return any(
            commit.kind == "window" and commit.records and commit.window and commit.window.start >= since
            for source in binding.sources
            for resource in resources
            for commit in destination.commits(Stream(source, resource))
        )


def _binding(endpoint: str, conn_ids: Sequence[str], destination: str) -> Binding:
    from makini_provider.sync.streams import Source
    from makini_provider.webhooks.processing import Binding
    from makini_provider.webhooks.setup import find_endpoint

    found = find_endpoint(endpoint)
    return Binding(
        found.sources or [Source(conn_id) for conn_id in conn_ids],
        found.domains or DOMAINS,
        found.destination or destination,
    )


@contextmanager
def _client_of(source: Source) -> Iterator[MakiniClient]:
    from makini_provider.hooks.makini import MakiniHook

    with MakiniHook(source.conn_id, source.makini_connection) as hook:
        yield hook.client


def _measure(drained: Drained, inbox: Inbox) -> None:
    from makini_provider.webhooks import metrics

    for what, number in (
        ("processed", drained.done),
        ("retried", drained.retried),
        ("dead", len(drained.dead)),
        ("unknown", sum(drained.unknown.values())),
    ):
        if number:
            metrics.count(what, number=number)
    for endpoint, seconds in drained.seconds_to_land:
        metrics.landed(seconds, endpoint=endpoint)
    metrics.gauges(inbox.counts())


def runs_for(conn_ids: Sequence[str], *, at: datetime) -> list[dict[str, Any]]:
    """A run for connections that platform events are about, as arguments of a ``TriggerDagRunOperator``.

    :param conn_ids: of the receipt of :class:`MakiniWebhookOperator`: those whose sync Makini has
        completed, or whose state has changed
    :param at: names the run: to ask twice within a minute for the same makes one run
    :return: none, or one
    """
    if not conn_ids:
        return []
    which = hashlib.sha256("\n".join(conn_ids).encode()).hexdigest()[:8]
    run_id = f"webhook__{at:%Y-%m-%dT%H:%M}__{which}"
    return [{"conf": {"connections": conn_ids}, "trigger_run_id": run_id}]


def fail_for_trouble(receipt: Mapping[str, Any]) -> None:
    """Fail where somebody should look: that is how Airflow tells people.

    :param receipt: of :class:`MakiniWebhookOperator`
    :raises AirflowFailException: says what has happened
    """
    trouble = []
    if receipt["dead"]:
        reasons = "\n".join(f"  {reason}" for reason in receipt["dead_reasons"])
        trouble.append(f"{receipt['dead']} webhooks were given up, and can be replayed:\n{reasons}")
    if receipt["errors"]:
        trouble.append("Makini reports errors:\n" + "\n".join(f"  {error}" for error in receipt["errors"]))
    if trouble:
        raise AirflowFailException("\n".join(trouble))
