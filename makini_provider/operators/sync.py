"""Operators that bring Makini's records to a destination: the whole history once, then what has changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from makini_provider.api.errors import MakiniConfigurationError, MakiniError, NoInitialSyncError
from makini_provider.api.resources import get_resource
from makini_provider.destinations.uri import check_destination
from makini_provider.operators.gate import pass_the_gate
from makini_provider.operators.refusal import refusals_explained
from makini_provider.operators.retrying import retry_arguments
from makini_provider.sync.windows import parse_duration, parse_time

if TYPE_CHECKING:
    from airflow.sdk import Context

    from makini_provider.sync.plan import RunInterval
    from makini_provider.sync.run import StreamSync

BeforeInitial = Literal["fail", "skip", "initial"]

_BEFORE_INITIAL = ("fail", "skip", "initial")


class UnusableArgumentError(MakiniConfigurationError, AirflowFailException):
    """An argument can't be used.

    A mapped operator's arguments are known only when its task runs: there this fails the task at once.
    """


@contextmanager
def no_retry_mends_it() -> Iterator[None]:
    """Let what a retry can't mend fail the task at once."""
    try:
        yield
    except MakiniConfigurationError as error:
        raise UnusableArgumentError(error.message, remedy=error.remedy) from error


class _MakiniSyncOperator(BaseOperator):
    """What both syncs share: one stream, one destination."""

    template_fields: Sequence[str] = (
        "makini_conn_id",
        "makini_connection",
        "resource",
        "destination",
        "filters",
        "window_start",
        "window_end",
        "full_refresh",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        resource: str,
        destination: str,
        makini_conn_id: str = "makini_default",
        makini_connection: str | None = None,
        history: timedelta | float | None = timedelta(days=90),
        window_start: datetime | str | None = None,
        window_end: datetime | str | None = None,
        full_refresh: bool | str = False,
        filters: Mapping[str, str] | None = None,
        max_window: timedelta | float = timedelta(days=30),
        file_format: str = "jsonl",
        compression: str = "gzip",
        gate_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_arguments(kwargs))
        self.resource = resource
        self.destination = destination
        self.makini_conn_id = makini_conn_id
        self.makini_connection = makini_connection
        self.window_start = window_start
        self.window_end = window_end
        self.full_refresh = full_refresh
        self.filters = filters
        self.file_format = file_format
        self.compression = compression
        self.gate_task_id = gate_task_id
        with no_retry_mends_it():
            self.history = parse_duration("history", history)
            self.max_window = parse_duration("max_window", max_window)
            self._check_what_is_known()

    @property
    def source(self) -> str:
        """Whose data it is, as the form of a run takes it: ``conn_id`` or ``conn_id/makini_connection``."""
        return "/".join(filter(None, (self.makini_conn_id, self.makini_connection)))

    def execute(self, context: Context) -> dict[str, Any]:
        """Sync the stream and return the receipt."""
        from makini_provider.destinations.files.destination import FilesDestination
        from makini_provider.hooks.makini import MakiniHook
        from makini_provider.sync.run import DEFAULT_MAX_WINDOW, StreamSync
        from makini_provider.sync.streams import Source, Stream

        upstream = None
        if self.gate_task_id:
            upstream = pass_the_gate(
                context, self.gate_task_id, self.makini_conn_id, self.makini_connection or None
            )
        try:
            stream = Stream(
                Source(self.makini_conn_id, self.makini_connection or None),
                get_resource(self.resource),
                _checked_filters(self.filters),
            )
            destination = FilesDestination(
                self.destination, file_format=self.file_format, compression=self.compression
            )
            with MakiniHook(self.makini_conn_id, self.makini_connection or None) as hook:
                sync = StreamSync(
                    hook.client,
                    destination,
                    stream,
                    run_id=f"{context['ti'].dag_id}/{context['ti'].run_id}",
                    max_window=self.max_window or DEFAULT_MAX_WINDOW,
                    upstream=upstream,
                )
                with refusals_explained(hook):
                    return self._sync(sync, context)
        except MakiniError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error

    @abstractmethod
    def _sync(self, sync: StreamSync, context: Context) -> dict[str, Any]:
        """Run the sync that this operator is for."""

    def _window(self) -> dict[str, datetime | None]:
        return {
            "window_start": parse_time("window_start", self.window_start),
            "window_end": parse_time("window_end", self.window_end),
        }

    def _check_what_is_known(self) -> None:
        """Say what is wrong while the DAG is parsed, as far as the values are not templates."""
        if _is_final(self.resource):
            get_resource(self.resource)
        if _is_final(self.destination):
            check_destination(self.destination, file_format=self.file_format, compression=self.compression)
        for name in ("window_start", "window_end"):
            if _is_final(getattr(self, name)):
                parse_time(name, getattr(self, name))


class MakiniInitialSyncOperator(_MakiniSyncOperator):
    """Brings the history of one resource, once: a complete snapshot of the period.

    A retry goes on where the try before was killed. Running it again after it has completed brings only what
    a longer ``history`` adds, and nothing otherwise.

    :param resource: ``domain/name`` such as ``eam/work-orders``, or ``path:/api/…`` for a list that the
        catalogue does not have (templated)
    :param destination: URI of the folder where records land, as Airflow's ``ObjectStoragePath`` takes it:
        ``file:///…``, ``s3://conn@bucket/…``, ``gs://…``, ``abfs://…`` (templated)
    :param makini_conn_id: Airflow connection (templated)
    :param makini_connection: the Makini connection's id, where the Airflow connection serves many (templated)
    :param history: how far back, as a timedelta or in days; ``None`` for everything. ``reference`` resources
        (assets, sites, vendors, …) are always brought whole
    :param window_start: an ISO 8601 time that takes the place of the start (templated)
    :param window_end: an ISO 8601 time that takes the place of the end, which is now (templated)
    :param full_refresh: read everything again; readers see what was there until that is complete (templated)
    :param filters: values by ``field`` or ``field:op`` that narrow the list; part of the stream's identity:
        changing them needs ``full_refresh`` (templated)
    :param max_window: a longer window is committed in pieces, each of which a retry need not read again
    :param file_format: of the data files: ``jsonl``
    :param compression: of the data files: ``gzip``, ``zstd`` (needs the extra ``zstd``) or ``none``
    :param gate_task_id: the :class:`~makini_provider.operators.gate.MakiniGateOperator` of this DAG that asks
        for the source's state; this task is then downstream of it, with ``trigger_rule="all_done"``
    :return: the receipt: stream, windows, counts, files, watermark, warnings; never records
    :raises MakiniConfigurationError: a parameter can't be used; while the DAG is parsed, where it is known
    """

    def _sync(self, sync: StreamSync, context: Context) -> dict[str, Any]:  # noqa: ARG002
        return sync.initial(
            history=self.history, full_refresh=_parse_flag(self.full_refresh), **self._window()
        )


class MakiniIncrementalSyncOperator(_MakiniSyncOperator):
    """Brings what was created or modified since the last successful sync of one resource.

    The window begins at the earlier of the data interval's start and the watermark, less ``lookback``, and
    ends at the data interval's end; a run that somebody started, and one without an interval, goes up to now.
    So skipped, failed and missing runs leave no gap: the next run heals it.

    :param resource: as in :class:`MakiniInitialSyncOperator` (templated)
    :param destination: as there (templated)
    :param lookback: how far the start is pulled back, as a timedelta or in days; it must be longer than
        Makini's own sync with the connected system takes
    :param before_initial: what to do while no initial sync has been completed: ``fail``, ``skip`` the task,
        or do the ``initial`` sync first
    :param makini_conn_id: Airflow connection (templated)
    :param makini_connection: the Makini connection's id, where the Airflow connection serves many (templated)
    :param history: of an initial sync that is done here
    :param window_start: an ISO 8601 time that takes the place of the start (templated)
    :param window_end: an ISO 8601 time that takes the place of the end (templated)
    :param full_refresh: do the initial sync again instead (templated)
    :param filters: as in :class:`MakiniInitialSyncOperator` (templated)
    :param max_window: a longer window is committed in pieces
    :param file_format: of the data files: ``jsonl``
    :param compression: of the data files: ``gzip``, ``zstd`` or ``none``
    :param gate_task_id: as in :class:`MakiniInitialSyncOperator`
    :return: the receipt
    :raises MakiniConfigurationError: a parameter can't be used
    """

    def __init__(
        self,
        *,
        lookback: timedelta | float = timedelta(hours=1),
        before_initial: BeforeInitial = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with no_retry_mends_it():
            self.lookback = parse_duration("lookback", lookback, zero=True) or timedelta(0)
            if before_initial not in _BEFORE_INITIAL:
                raise MakiniConfigurationError(
                    f"before_initial is {before_initial!r}.",
                    remedy=f"Use one of {', '.join(_BEFORE_INITIAL)}.",
                )
        self.before_initial = before_initial

    def _sync(self, sync: StreamSync, context: Context) -> dict[str, Any]:
        if _parse_flag(self.full_refresh):
            return sync.initial(history=self.history, full_refresh=True)
        if self.before_initial == "initial" and not sync.has_initial():
            sync.initial(history=self.history)
        try:
            return sync.incremental(run_interval(context), lookback=self.lookback, **self._window())
        except NoInitialSyncError as error:
            if self.before_initial == "skip":
                raise AirflowSkipException(str(error)) from error
            raise


def run_interval(context: Context) -> RunInterval:
    """What the context of a task says about its run; what a run does not have is absent there."""
    from makini_provider.sync.plan import RunInterval

    run_type = context["dag_run"].run_type
    return RunInterval(
        start=parse_time("data_interval_start", context.get("data_interval_start")),
        end=parse_time("data_interval_end", context.get("data_interval_end")),
        logical_date=parse_time("logical_date", context.get("logical_date")),
        scheduled=str(getattr(run_type, "value", run_type)) in ("scheduled", "backfill"),
    )


def _is_final(value: Any) -> bool:
    """Whether a value is already what the task will see: no template, and nothing that another task gives."""
    return isinstance(value, str | datetime) and not (isinstance(value, str) and "{{" in value)


def _parse_flag(value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no", "none", ""):
        return False
    raise MakiniConfigurationError(f"full_refresh is {value!r}.", remedy="Use true or false.")


def _checked_filters(filters: Mapping[str, str] | None) -> dict[str, str]:
    if filters is None:
        return {}
    if not isinstance(filters, Mapping):
        raise MakiniConfigurationError(
            f"filters should be an object, not {type(filters).__name__}.",
            remedy='Write it like {"siteKey": "S-1", "name:contains": "pump"}.',
        )
    return {str(name): str(value) for name, value in filters.items()}
