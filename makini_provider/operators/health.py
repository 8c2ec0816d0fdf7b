"""Whether what should land is landing: watermarks that stand still are noticed, whatever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from makini_provider.operators.gate import pass_the_gate, source_name
from makini_provider.operators.sync import no_retry_mends_it
from makini_provider.sync.windows import parse_duration

if TYPE_CHECKING:
    from airflow.sdk import Context

    from makini_provider.destinations.files.store import Store
    from makini_provider.sync.coverage import StreamState


class StaleWatermarkError(AirflowFailException):
    """Streams of a source have not got on for too long; ``streams`` holds their watermarks by name.

    :param message: for people
    :param streams: ISO 8601 times, ``None`` where no initial sync has been completed
    """

    def __init__(self, message: str, streams: dict[str, str | None]) -> None:
        super().__init__(message)
        self.streams = streams


class MakiniWatermarkCheckOperator(BaseOperator):
    """Fails where a stream of a source has not got on for too long.

    It looks at the destination alone, so it notices syncs that fail, are skipped, are paused or were never
    scheduled, and a sync of Makini's own that does not complete.

    :param destination: URI of the folder where records land (templated)
    :param stale_after: how old a watermark may be, as a timedelta or in days
    :param makini_conn_id: Airflow connection (templated)
    :param makini_connection: the Makini connection's id, where the Airflow connection serves many (templated)
    :param gate_task_id: the gate of this DAG; where it is closed the reason is known: this task is skipped
    :return: the watermarks by stream
    """

    template_fields: Sequence[str] = ("destination", "makini_conn_id", "makini_connection")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        destination: str,
        stale_after: timedelta | float = timedelta(hours=26),
        makini_conn_id: str = "makini_default",
        makini_connection: str | None = None,
        gate_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.makini_conn_id = makini_conn_id
        self.makini_connection = makini_connection
        self.gate_task_id = gate_task_id
        with no_retry_mends_it():
            self.stale_after = parse_duration("stale_after", stale_after) or timedelta(hours=26)

    @property
    def source(self) -> str:
        """Whose data it is: ``conn_id`` or ``conn_id/makini_connection``."""
        return source_name(self.makini_conn_id, self.makini_connection)

    def execute(self, context: Context) -> dict[str, str | None]:
        """Look at the streams of the source."""
        from makini_provider.destinations.files.layout import folder_name

        if self.gate_task_id:
            pass_the_gate(context, self.gate_task_id, self.makini_conn_id, self.makini_connection or None)
        now = _now()
        watermarks: dict[str, str | None] = {}
        stale: dict[str, str | None] = {}
        lines = []
        for folder, state in self._streams():
            name = folder_name(folder).partition("/")[2]
            watermark = state.watermark
            watermarks[name] = None if watermark is None else watermark.isoformat()
            # Without a watermark, what counts is how long the initial sync has been going on.
            reference = watermark or min((commit.read_at for commit in state.commits), default=now)
            if now - reference > self.stale_after:
                stale[name] = watermarks[name]
                lines.append(_line(name, watermark, reference, now))
        if not watermarks:
            raise AirflowSkipException(f"{self.source}: no stream has landed at {self.destination}.")
        if stale:
            raise StaleWatermarkError(self._text(lines, len(watermarks)), stale)
        return watermarks

    def _streams(self) -> Iterator[tuple[str, StreamState]]:
        from makini_provider.destinations.files.destination import streams_of
        from makini_provider.destinations.files.layout import source_folder
        from makini_provider.destinations.files.reader import stream_state
        from makini_provider.destinations.files.store import open_store
        from makini_provider.sync.streams import Source

        store: Store = open_store(self.destination.rstrip("/"))
        own = source_folder(Source(self.makini_conn_id, self.makini_connection or None))
        for folder in streams_of(store):
            if folder.startswith(f"{own}/"):
                yield folder, stream_state(store, folder)

    def _text(self, lines: Sequence[str], number: int) -> str:
        hours = self.stale_after.total_seconds() / 3600
        first = f"{self.source}: {len(lines)} of {number} streams have not got on for {hours:g} hours."
        return "\n".join([first, _WHAT_TO_DO, "What was seen:", *(f"  - {line}" for line in lines)])


_WHAT_TO_DO = """\
What to do:
  You: look at the runs of makini_incremental_sync: paused, failed, skipped? The logs of its tasks say why.
  You: where they are green, Makini's own sync with the connected system has not completed: see its state
  with 'airflow makini check', and the reason in Makini."""


def _now() -> datetime:
    return datetime.now(UTC)


def _line(name: str, watermark: datetime | None, reference: datetime, now: datetime) -> str:
    from makini_provider.api.wording import duration, moment

    if watermark is None:
        return f"{name}: its initial sync was begun {duration(now - reference)} ago and is not completed"
    return f"{name}: everything before {moment(watermark)} is there, which is {duration(now - watermark)} ago"
