"""Working off the inbox: hints come in, and what the API says of them lands beside what the syncs bring.

No scheduler and no connection store is known here: whoever drains an inbox brings clients and destinations.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from makini_provider.api.errors import (
    FingerprintError,
    LeaseLostError,
    MakiniConfigurationError,
    MakiniError,
    MakiniInboxError,
    NoInitialSyncError,
)
from makini_provider.api.resources import catalogue
from makini_provider.sync.destination import Destination
from makini_provider.sync.single import Asked, RecordClient, SingleRecords
from makini_provider.sync.streams import Source, Stream
from makini_provider.webhooks.inbox import Event
from makini_provider.webhooks.meaning import DataEvent, PlatformEvent, UnintelligibleError, understand

log = logging.getLogger(__name__)

EVENTS_PER_BATCH: Final = 500
KEYS_PER_COMMIT: Final = 5_000
LEASE: Final = timedelta(minutes=10)
_LONGEST_WAIT: Final = timedelta(hours=1)
_LISTED: Final = 20
_SECONDS_BETWEEN_LOOKS: Final = 0.5
_SECONDS_BETWEEN_COMMITS: Final = 2.0
_SECONDS_UNTOLD: Final = 60.0
"""That an asked-for sync or check waits for its receipt where events never cease."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What an endpoint of the receiver is bound to, with every default filled in.

    :param sources: whose records its events may be about
    :param domains: where its resources are: ``eam``, ``erp``, ``wms``
    :param destination: where the syncs of these sources land
    """

    sources: Sequence[Source]
    domains: Sequence[str]
    destination: str


class Claims(Protocol):
    """What is needed of an inbox."""

    def claim(self, worker: str, *, limit: int, lease: timedelta) -> list[Event]:
        """Claim events that are due."""
        ...

    def done(self, event: Event) -> None:
        """The event is processed."""
        ...

    def retry(self, event: Event, error: str, *, delay: timedelta | None = None) -> bool:
        """The event could not be processed this time; ``False`` where that was the last attempt."""
        ...

    def dead(self, event: Event, error: str) -> None:
        """The event can't be processed."""
        ...


@dataclass(slots=True)
class Drained:
    """What working off the inbox has come to.

    :param done: events that are finished
    :param retried: events that will be tried again
    :param dead: events that were given up, with the reason of each (the first of them)
    :param events: finished events by type
    :param unknown: finished events whose type nobody knows here, by type
    :param landed: records by stream
    :param tombstones: records that the API no longer has, by stream
    :param not_synced: keys that were left to the syncs, by stream and reason
    :param ambiguous: keys that more than one stream has
    :param sync_completed: connections of which Makini has just completed a sync
    :param connections: connections of which Makini says that their state has changed
    :param errors: what Makini reports as errors
    :param seconds_to_land: endpoint of each finished event, and how long after its receipt that was
    """

    done: int = 0
    retried: int = 0
    dead: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    landed: Counter[str] = field(default_factory=Counter)
    tombstones: Counter[str] = field(default_factory=Counter)
    not_synced: Counter[str] = field(default_factory=Counter)
    ambiguous: int = 0
    sync_completed: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds_to_land: list[tuple[str, float]] = field(default_factory=list)

    @property
    def asks(self) -> bool:
        """Whether somebody is to do something when there is a receipt."""
        return bool(self.sync_completed or self.connections or self.errors)

    def receipt(self) -> dict[str, Any]:
        """The same as plain data, without records and without end."""
        seconds = [seconds for _, seconds in self.seconds_to_land]
        return {
            "done": self.done,
            "retried": self.retried,
            "dead": len(self.dead),
            "dead_reasons": self.dead[:_LISTED],
            "events": dict(self.events.most_common(_LISTED)),
            "unknown": dict(self.unknown.most_common(_LISTED)),
            "landed": dict(self.landed),
            "tombstones": dict(self.tombstones),
            "not_synced": dict(self.not_synced.most_common(_LISTED)),
            "ambiguous": self.ambiguous,
            "sync_completed": sorted(set(self.sync_completed)),
            "connections": sorted(set(self.connections)),
            "errors": self.errors[:_LISTED],
            "seconds_to_land": {
                "mean": round(sum(seconds) / len(seconds), 3) if seconds else None,
                "longest": round(max(seconds), 3) if seconds else None,
            },
        }


class Processor:
    """Works off an inbox.

    :param inbox: where events are claimed
    :param binding_of: what an endpoint is bound to, by its name; it raises for one that is not set up
    :param client_of: opens the client of a source; closed at the end of a drain
    :param destination_of: opens a destination by its URI
    :param worker: who claims, for people who look at the inbox
    :param run_id: of the commits
    :param events_per_batch: claimed at once, and landed as one commit of each stream
    :param lease: how long a batch may take
    """

    def __init__(
        self,
        inbox: Claims,
        *,
        binding_of: Callable[[str], Binding],
        client_of: Callable[[Source], AbstractContextManager[RecordClient]],
        destination_of: Callable[[str], Destination],
        worker: str,
        run_id: str,
        events_per_batch: int = EVENTS_PER_BATCH,
        lease: timedelta = LEASE,
    ) -> None:
        self._inbox = inbox
        self._binding_of = binding_of
        self._client_of = client_of
        self._destination_of = destination_of
        self._worker = worker
        self._run_id = run_id
        self._limit = events_per_batch
        self._lease = lease

    def drain(self, *, at_most: timedelta, linger: timedelta = timedelta(0)) -> Drained:
        """Work off events until none is due.

        Where a platform event asks for something, which is done when there is a receipt, it does not linger.

        :param at_most: after this long no further batch is begun
        :param linger: how long to look for further ones after the last
        :raises MakiniInboxError: the inbox can't be used; what was claimed comes again after its lease
        """
        drained = Drained()
        last = time.monotonic()
        ends = last + at_most.total_seconds()
        with ExitStack() as opened:
            work = _Work(self._inbox, self._binding_of, _Streams(self, opened), drained)
            while True:
                if events := self._inbox.claim(self._worker, limit=self._limit, lease=self._lease):
                    work.work_off(events)
                    last = time.monotonic()
                    if linger and drained.asks:
                        linger, ends = timedelta(0), min(ends, last + _SECONDS_UNTOLD)
                    if len(events) < self._limit:
                        # What comes meanwhile goes into one commit, where it would be many small ones.
                        time.sleep(min(_SECONDS_BETWEEN_COMMITS, linger.total_seconds()))
                elif time.monotonic() - last >= linger.total_seconds():
                    break
                else:
                    time.sleep(min(_SECONDS_BETWEEN_LOOKS, linger.total_seconds()))
                if time.monotonic() >= ends:
                    break
            work.finish_noted()
        return drained

    def single_records(self, stream: Stream, destination: str, opened: ExitStack) -> SingleRecords:
        """What brings records of a stream; its client stays open as long as ``opened`` does."""
        client = opened.enter_context(self._client_of(stream.source))
        return SingleRecords(client, self._destination_of(destination), stream, run_id=self._run_id)


class _Streams:
    """The streams of a drain, each opened once."""

    def __init__(self, processor: Processor, opened: ExitStack) -> None:
        self._processor = processor
        self._opened = opened
        self._known: dict[tuple[str, str, str], SingleRecords] = {}

    def open(self, stream: Stream, destination: str) -> SingleRecords:
        name = (str(stream.source), stream.resource.name, destination)
        if name not in self._known:
            self._known[name] = self._processor.single_records(stream, destination, self._opened)
        return self._known[name]


@dataclass(slots=True)
class _Key:
    """What became of one key over the streams that may have it."""

    landed: int = 0
    error: MakiniError | None = None


class _Work:
    """What is done with the events of a drain, those that were claimed together at a time."""

    def __init__(
        self,
        inbox: Claims,
        binding_of: Callable[[str], Binding],
        streams: _Streams,
        drained: Drained,
    ) -> None:
        self._inbox = inbox
        self._binding_of = binding_of
        self._streams = streams
        self._drained = drained
        self._ended: set[str] = set()
        self._noted: list[Event] = []

    def work_off(self, events: Sequence[Event]) -> None:
        """Finish each event, in one way or another, except for those that are noted."""
        self._ended.clear()
        data: dict[tuple[str, str], list[tuple[Event, DataEvent]]] = {}
        bindings: dict[str, Binding] = {}
        for event in events:
            with self._unexpected([event]):
                try:
                    meaning = understand(event.payload)
                except UnintelligibleError as error:
                    self._give_up(event, error)
                    continue
                try:
                    binding = bindings.get(event.endpoint) or self._binding_of(event.endpoint)
                except MakiniError as error:
                    self._try_again(event, error)
                    continue
                bindings[event.endpoint] = binding
                if isinstance(meaning, DataEvent):
                    data.setdefault((event.endpoint, meaning.resource), []).append((event, meaning))
                else:
                    self._note(event, meaning, binding)
        for (endpoint, resource), group in data.items():
            for part in _parts(group):
                with self._unexpected([event for event, _ in part]):
                    self._land(resource, part, bindings[endpoint])

    @contextmanager
    def _unexpected(self, events: Sequence[Event]) -> Iterator[None]:
        """Let an error that nobody expected cost these events an attempt, and no others anything.

        Else all that were claimed would wait for the end of their lease, with no word of why, and in the end
        die together.
        """
        try:
            yield
        except MakiniInboxError:
            raise
        except Exception as error:
            log.exception("%s events of one kind failed with an error that nobody expected.", len(events))
            # Its text could show anything.
            unexpected = MakiniError(f"an error that nobody expected, {type(error).__name__}: see the log.")
            for event in events:
                if event.id not in self._ended:
                    self._try_again(event, unexpected)

    # Data events

    def _land(self, resource: str, group: Sequence[tuple[Event, DataEvent]], binding: Binding) -> None:
        keys = {key: _Key() for _, meaning in group for key in meaning.keys}
        asked = list(self._ask(resource, keys, binding))
        for stream, _, found in asked:
            self._count(stream, found)
            for key in found.landed:
                keys[key].landed += 1
            for key, failure in found.failed.items():
                keys[key].error = keys[key].error or failure
        # A key that one stream has, others need not know. One that none has was deleted, or never was.
        homeless = [key for key, one in keys.items() if not one.landed and one.error is None]
        for stream, records, found in asked:
            if missing := found.missing.intersection(homeless):
                self._bury(stream, records, missing, keys)
        self._drained.ambiguous += sum(one.landed > 1 for one in keys.values())
        for event, meaning in group:
            error = next((keys[key].error for key in meaning.keys if keys[key].error is not None), None)
            if error is not None:
                self._try_again(event, error)
            elif meaning.refused:
                self._give_up(event, MakiniConfigurationError(" ".join(meaning.refused[:_LISTED])))
            else:
                self._finish(event)

    def _ask(
        self, resource: str, keys: Mapping[str, _Key], binding: Binding
    ) -> Iterator[tuple[Stream, SingleRecords, Asked]]:
        """Ask each stream that may have the keys; those that are not synced are passed over."""
        names = [f"{domain}/{resource}" for domain in binding.domains]
        streams = [
            Stream(source, catalogue()[name])
            for source in binding.sources
            for name in names
            if name in catalogue() and keys
        ]
        for stream in streams:
            try:
                records = self._streams.open(stream, binding.destination)
                yield stream, records, records.land(keys)
            except (NoInitialSyncError, FingerprintError) as reason:
                log.info("%s: %s keys are left to the syncs. %s", stream, len(keys), reason)
                self._drained.not_synced[f"{stream}: {type(reason).__name__}"] += len(keys)
            except MakiniError as error:
                log.warning("%s: %s", stream, error)
                for one in keys.values():
                    one.error = one.error or error

    def _bury(
        self, stream: Stream, records: SingleRecords, missing: Iterable[str], keys: Mapping[str, _Key]
    ) -> None:
        try:
            found = records.bury(missing)
        except MakiniError as error:
            log.warning("%s: %s", stream, error)
            for key in missing:
                keys[key].error = error
            return
        self._count(stream, found)
        self._drained.tombstones[str(stream)] += len(found.missing)
        for key, failure in found.failed.items():
            keys[key].error = failure

    def _count(self, stream: Stream, found: Asked) -> None:
        if found.landed:
            self._drained.landed[str(stream)] += len(found.landed)

    # Platform events

    def finish_noted(self) -> None:
        """Finish the events of which only the receipt tells: before there is one, nobody has been told.

        Whoever dies on the way leaves them claimed, and they come again.
        """
        for event in self._noted:
            self._finish(event)
        self._noted.clear()

    def _note(self, event: Event, meaning: PlatformEvent, binding: Binding) -> None:
        conn_ids = _concerned(meaning, binding)
        what = f"{meaning.type} ({meaning.connection or ', '.join(conn_ids)}) {meaning.details}".strip()
        if meaning.kind == "sync completed":
            self._drained.sync_completed += conn_ids
        elif meaning.kind == "connection":
            log.warning("Makini says: %s", what)
            self._drained.connections += conn_ids
        elif meaning.kind == "error":
            log.error("Makini reports an error: %s", what)
            self._drained.errors.append(what)
        else:
            log.warning("%s: its type is not known here; it is kept.", _name(event))
            self._drained.unknown[meaning.type] += 1
        self._ended.add(event.id)
        self._noted.append(event)

    # How an event ends

    def _finish(self, event: Event) -> None:
        with _Lease(self._drained):
            self._ended.add(event.id)
            self._inbox.done(event)
            self._drained.done += 1
            self._drained.events[event.type or "?"] += 1
            age = (datetime.now(UTC) - event.received_at).total_seconds()
            self._drained.seconds_to_land.append((event.endpoint, max(age, 0.0)))

    def _try_again(self, event: Event, error: MakiniError) -> None:
        wait = error.retry_after
        delay = None if wait is None else min(timedelta(seconds=wait), _LONGEST_WAIT)
        with _Lease(self._drained):
            self._ended.add(event.id)
            if self._inbox.retry(event, str(error), delay=delay):
                log.warning("%s: attempt %s failed: %s", _name(event), event.attempts, error)
                self._drained.retried += 1
            else:
                log.error("%s: given up after %s attempts: %s", _name(event), event.attempts, error)
                self._drained.dead.append(f"{_name(event)}: {error}")

    def _give_up(self, event: Event, error: MakiniError) -> None:
        with _Lease(self._drained):
            self._ended.add(event.id)
            self._inbox.dead(event, str(error))
            log.error("%s: given up: %s", _name(event), error)
            self._drained.dead.append(f"{_name(event)}: {error}")


class _Lease(AbstractContextManager[None]):
    """Another worker has an event whose lease has passed: it will end it."""

    def __init__(self, drained: Drained) -> None:
        self._drained = drained

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, LeaseLostError):
            log.warning("%s", error)
            return True
        return False


def _name(event: Event) -> str:
    return f"event {event.id} ({event.type or 'no type'}, endpoint {event.endpoint})"


def _parts(group: Sequence[tuple[Event, DataEvent]]) -> Iterator[list[tuple[Event, DataEvent]]]:
    """Cut a group so that no commit gets too large; one event stays whole."""
    part: list[tuple[Event, DataEvent]] = []
    keys = 0
    for event, meaning in group:
        if part and keys + len(meaning.keys) > KEYS_PER_COMMIT:
            yield part
            part, keys = [], 0
        part.append((event, meaning))
        keys += len(meaning.keys)
    if part:
        yield part


def _concerned(meaning: PlatformEvent, binding: Binding) -> list[str]:
    """The Airflow connections that an event is about; all of the endpoint's where it names none of them."""
    named = [s for s in binding.sources if meaning.connection in (s.makini_connection, s.conn_id)]
    return list(dict.fromkeys(source.conn_id for source in named or binding.sources))
