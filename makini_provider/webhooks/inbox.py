"""The inbox: events between their receipt and the end of their processing.

An event is *waiting*, *claimed* by a worker for the time of a lease, *done*, or *dead*: given up after too
many attempts, and kept until someone replays or forgets it.

- **A known event id is never taken in again**, as long as the event is kept.
- **Events without an id** are coalesced by their content, and only with one that no worker has claimed yet:
  two different updates of one asset look exactly alike, and what a worker has begun to read may be older than
  the second. The digest that a unique index compares is removed by the claim itself, in its transaction, so
  that no interleaving takes an update for a repetition of one already claimed.
- **A lease** is a token. Who comes back after another has claimed the event is refused.

PostgreSQL serves many receivers and workers; SQLite those of one machine.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal

from sqlalchemy import (
    URL,
    Connection,
    Row,
    Select,
    delete,
    exists,
    func,
    select,
    update,
)

from makini_provider.api.errors import LeaseLostError
from makini_provider.sync.ids import new_id
from makini_provider.webhooks.database import Database
from makini_provider.webhooks.schema import EVENTS, LONGEST_TEXT, TALLIES, Instant, migrate

log = logging.getLogger(__name__)

State = Literal["waiting", "claimed", "done", "dead"]

DEFAULT_MAX_ATTEMPTS: Final = 10
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
_LONGEST_ERROR: Final = 2_000
_TALLIES_KEPT: Final = timedelta(days=90)
"""At least: what was counted says when a webhook came last, also where events are forgotten at once."""

_c = EVENTS.c
_OPEN = _c.finished_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A webhook that has come in, and is authentic.

    :param endpoint: the receiver's name for where it came in
    :param payload: the body, byte for byte
    :param received_at: when it was complete
    :param type: what the payload calls its event; ``None`` where it tells nothing
    :param event_id: what makes the event unique within the endpoint, where the payload has such a thing
    """

    endpoint: str
    payload: bytes = field(repr=False)
    received_at: datetime
    type: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Received):
    """An event of the inbox, claimed by a worker.

    :param id: its own within the inbox, in the order of receipt
    :param attempts: how often it was claimed, this time included
    :param lease: the token of the claim
    """

    id: str
    attempts: int
    lease: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(Received):
    """An event that was given up.

    :param id: its own within the inbox
    :param attempts: how often it was tried
    :param died_at: when it was given up
    :param error: the last one
    """

    id: str
    attempts: int
    died_at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events there are.

    :param waiting: not claimed, also those that wait for another attempt
    :param claimed: being worked on, or left behind by a worker that has died
    :param dead: given up
    :param done: finished and not forgotten yet
    :param oldest: age of the oldest event that is neither done nor dead
    """

    waiting: int
    claimed: int
    dead: int
    done: int
    oldest: timedelta | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something has happened at the receivers within an hour.

    :param hour: when it began
    :param endpoint: where, empty for what belongs to none
    :param what: ``received``, ``coalesced``, ``unreadable``, or ``unavailable`` or ``rejected.<reason>``
    :param number: how often
    """

    hour: datetime
    endpoint: str
    what: str
    number: int


class Inbox:
    """The events of one database.

    Threads may share an inbox. Its methods wait for the database: an event loop asks by
    ``asyncio.to_thread(inbox.waiting)`` and puts through an :class:`~makini_provider.webhooks.intake.Intake`.

    :param url: ``postgresql://…`` or ``sqlite:///<file>``; the tables are created and migrated
    :param max_attempts: after as many an event is dead
    :raises MakiniConfigurationError: not such a database, no driver for it, or a newer release's tables
    :raises MakiniInboxError: the database can't be reached
    """

    def __init__(self, url: str | URL, *, max_attempts: int = DEFAULT_MAX_ATTEMPTS) -> None:
        self._database = Database(url)
        self._max_attempts = max_attempts
        try:
            with self._database.transaction() as connection:
                migrate(connection)
        except Exception:
            self.close()
            raise

    @property
    def embedded(self) -> bool:
        """Whether it is a SQLite file: of this machine alone."""
        return self._database.embedded

    def __str__(self) -> str:
        return str(self._database)

    def __repr__(self) -> str:
        return f"Inbox({str(self)!r})"

    def close(self) -> None:
        """Close the connections to the database."""
        self._database.close()

    # The receiver's side

    def put(self, received: Received) -> bool:
        """Keep an event; it is durable when this returns.

        :return: ``False`` where it adds nothing: its id is known, or an equal event is still unclaimed
        """
        return self.put_all([received])[0]

    def put_all(self, received: Sequence[Received]) -> list[bool]:
        """Keep several events in one transaction: all are durable when this returns, or none is.

        :return: for each what :meth:`put` would return
        """
        rows = [_row(one) for one in received]
        # In an order that all receivers share: else two with the same events could wait for each other.
        ordered = sorted(rows, key=lambda row: (row["endpoint"], row["event_id"] or row["unclaimed_digest"]))
        # The same for all, so that they stay in the order of their ids, which is that of receipt.
        due_at = datetime.now(UTC) if self.embedded else func.now()
        insert = self._database.insert(EVENTS).values(due_at=due_at).on_conflict_do_nothing().returning(_c.id)
        with self._database.transaction() as connection:
            new = set(connection.execute(insert, ordered).scalars())
        return [row["id"] in new for row in rows]

    # The worker's side

    def claim(self, worker: str, *, limit: int, lease: timedelta) -> list[Event]:
        """Claim events that are due, the longest due first.

        When the lease has passed, others can claim them. An event whose workers have died too often without
        a word is dead. What a dead worker has left behind is claimed in ever smaller numbers, in the end one
        by one: should one of them be what kills the workers, it does not take the others with it.

        :param worker: who claims, for people who look at the table
        :param limit: the most to claim
        :param lease: how long the worker has; more than the work on all of them takes
        """
        token = new_id()
        with self._database.transaction() as connection:
            now = self._database.now(connection)
            rows = connection.execute(
                select(
                    _c.id,
                    _c.endpoint,
                    _c.type,
                    _c.event_id,
                    _c.payload,
                    _c.received_at,
                    _c.attempts,
                    _c.state,
                )
                .where(_OPEN, _c.due_at <= now)
                .order_by(_c.due_at, _c.id)
                .limit(limit)
                # Passed over by SQLite, where the transaction has the whole database to itself.
                .with_for_update(skip_locked=True)
            ).all()
            claimed = _fewer([row for row in rows if row.attempts < self._max_attempts], limit)
            exhausted = [row.id for row in rows if row.attempts >= self._max_attempts]
            if claimed:
                connection.execute(
                    update(EVENTS)
                    .where(_c.id.in_([row.id for row in claimed]))
                    .values(
                        state="claimed",
                        attempts=_c.attempts + 1,
                        due_at=now + lease,
                        worker=_name(worker),
                        lease=token,
                        unclaimed_digest=None,
                    )
                )
            error = f"{self._max_attempts} workers have begun on it and not come back"
            if exhausted:
                connection.execute(
                    update(EVENTS).where(_c.id.in_(exhausted)).values(**_finished("dead", now, error))
                )
        for event_id in exhausted:
            log.error("event %s: given up: %s", event_id, error)
        return [
            Event(
                id=row.id,
                endpoint=row.endpoint,
                type=row.type,
                event_id=row.event_id,
                payload=bytes(row.payload),
                received_at=row.received_at,
                attempts=row.attempts + 1,
                lease=token,
            )
            for row in claimed
        ]

    def done(self, event: Event) -> None:
        """The event is processed.

        :raises LeaseLostError: the lease has passed and the event is another's
        """
        with self._database.transaction() as connection:
            self._finish(connection, event, _finished("done", self._database.now(connection)))

    def retry(self, event: Event, error: str, *, delay: timedelta | None = None) -> bool:
        """The event could not be processed this time.

        :param error: what happened; never a secret
        :param delay: until the next attempt, by default one that grows with each
        :return: ``False`` where that was the last attempt, and the event is dead
        :raises LeaseLostError: the lease has passed and the event is another's
        """
        again = event.attempts < self._max_attempts
        with self._database.transaction() as connection:
            now = self._database.now(connection)
            values = _finished("dead", now, error)
            if again:
                due_at = now + (_pause(event.attempts) if delay is None else delay)
                values |= {"state": "waiting", "finished_at": None, "due_at": due_at}
            self._finish(connection, event, values)
        return again

    def dead(self, event: Event, error: str) -> None:
        """The event can't be processed, and no repetition would change that.

        :raises LeaseLostError: the lease has passed and the event is another's
        """
        with self._database.transaction() as connection:
            self._finish(connection, event, _finished("dead", self._database.now(connection), error))

    # The operator's side

    def waiting(self) -> bool:
        """Whether a worker would find something to claim."""
        with self._database.transaction(write=False) as connection:
            due = exists().where(_OPEN, _c.due_at <= self._database.now(connection))
            return bool(connection.execute(select(due)).scalar_one())

    def counts(self, endpoint: str | None = None) -> Counts:
        """Count the events.

        :param endpoint: only its events; by default all
        """
        count = select(_c.state, func.count().label("events")).group_by(_c.state)
        oldest = select(func.min(_c.received_at, type_=Instant())).where(_OPEN)
        with self._database.transaction(write=False) as connection:
            rows = connection.execute(_of(endpoint, count)).all()
            since = connection.execute(_of(endpoint, oldest)).scalar_one()
            now = self._database.now(connection)
        events = {row.state: row.events for row in rows}
        return Counts(
            waiting=events.get("waiting", 0),
            claimed=events.get("claimed", 0),
            dead=events.get("dead", 0),
            done=events.get("done", 0),
            oldest=None if since is None else max(now - since, timedelta()),
        )

    def dead_letters(self, endpoint: str | None = None, *, limit: int = 100) -> list[DeadLetter]:
        """The dead events, the last to die first.

        :param endpoint: only its events; by default all
        :param limit: the most to return
        """
        columns = (_c.id, _c.endpoint, _c.type, _c.event_id, _c.payload, _c.received_at, _c.attempts)
        query = select(*columns, _c.finished_at.label("died_at"), _c.last_error.label("error"))
        query = query.where(_c.state == "dead").order_by(_c.finished_at.desc(), _c.id.desc()).limit(limit)
        with self._database.transaction(write=False) as connection:
            rows = connection.execute(_of(endpoint, query)).all()
        return [DeadLetter(**_plain(row)) for row in rows]

    def replay(self, ids: Collection[str] | None = None, *, endpoint: str | None = None) -> int:
        """Let dead events be tried again, with all their attempts.

        :param ids: only these; by default all
        :param endpoint: only its events; by default all
        :return: how many there were
        """
        again = update(EVENTS).where(_c.state == "dead")
        if ids is not None:
            again = again.where(_c.id.in_(list(ids)))
        if endpoint is not None:
            again = again.where(_c.endpoint == endpoint)
        with self._database.transaction() as connection:
            values = {
                "state": "waiting",
                "attempts": 0,
                "finished_at": None,
                "due_at": self._database.now(connection),
            }
            return connection.execute(again.values(**values)).rowcount

    def forget(self, older_than: timedelta, *, states: Sequence[State] = ("done",)) -> int:
        """Remove events that were finished longer ago; an event id among them would be taken in again.

        :param older_than: how long finished events are kept
        :param states: ``done``, and ``dead`` for who has looked at those
        :return: how many there were
        """
        with self._database.transaction() as connection:
            now = self._database.now(connection)
            connection.execute(delete(TALLIES).where(TALLIES.c.hour < now - max(older_than, _TALLIES_KEPT)))
            finished = delete(EVENTS).where(_c.state.in_(states), _c.finished_at < now - older_than)
            return connection.execute(finished).rowcount

    def add_tallies(self, tallies: Sequence[Tally]) -> None:
        """Add to what the receivers have counted."""
        insert = self._database.insert(TALLIES)
        add = insert.on_conflict_do_update(
            index_elements=list(TALLIES.primary_key),
            set_={"number": TALLIES.c.number + insert.excluded.number},
        )
        # In an order that all receivers share, as above.
        rows = sorted((asdict(tally) for tally in tallies), key=lambda row: tuple(row.values()))
        if rows:
            with self._database.transaction() as connection:
                connection.execute(add, rows)

    def tallies(self, within: timedelta) -> list[Tally]:
        """What the receivers have counted lately, the latest hour first.

        :param within: how far to look back
        """
        with self._database.transaction(write=False) as connection:
            recent = TALLIES.c.hour > self._database.now(connection) - within - timedelta(hours=1)
            rows = connection.execute(select(TALLIES).where(recent).order_by(TALLIES.c.hour.desc())).all()
        return [Tally(**row._mapping) for row in rows]

    # How it is done

    def _finish(self, connection: Connection, event: Event, values: dict[str, Any]) -> None:
        mine = update(EVENTS).where(_c.id == event.id, _c.lease == event.lease, _OPEN)
        if connection.execute(mine.values(**values)).rowcount != 1:
            raise LeaseLostError(
                f"event {event.id} of the inbox is no longer claimed by this worker: its lease has passed.",
                remedy="Give longer leases, or claim fewer events at a time.",
            )


def _of(endpoint: str | None, query: Select[Any]) -> Select[Any]:
    return query if endpoint is None else query.where(_c.endpoint == endpoint)


def _fewer(rows: Sequence[Any], limit: int) -> Sequence[Any]:
    """As many of the first as may be claimed together: a quarter for each worker that died of one of them."""
    most = limit
    for number, row in enumerate(rows):
        if row.state == "claimed":
            most = min(most, max(1, limit >> 2 * row.attempts))
        if number >= most:
            return rows[:number]
    return rows


def _plain(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "payload": bytes(row.payload)}


def _row(received: Received) -> dict[str, Any]:
    digest = sha256(received.payload).hexdigest()
    return {
        "id": new_id(),
        "endpoint": received.endpoint,
        "type": None if received.type is None else _name(received.type),
        "event_id": None if received.event_id is None else _key(received.event_id),
        "payload": received.payload,
        "received_at": received.received_at,
        "state": "waiting",
        "attempts": 0,
        "unclaimed_digest": digest if received.event_id is None else None,
    }


def _finished(state: State, at: datetime, error: str | None = None) -> dict[str, Any]:
    values: dict[str, Any] = {"state": state, "finished_at": at, "lease": None}
    return values if error is None else values | {"last_error": _text(error)[:_LONGEST_ERROR]}


def _pause(attempts: int) -> timedelta:
    """30 s, 1 min, 2 min, … up to an hour."""
    pauses: int = 2 ** min(attempts - 1, 20)
    return min(FIRST_PAUSE * pauses, LONGEST_PAUSE)


def _text(text: str) -> str:
    """What a database takes: JSON can hold halves of characters, UTF-8 can't, and PostgreSQL takes no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _name(text: str) -> str:
    return _text(text)[:LONGEST_TEXT]


def _key(text: str) -> str:
    """An event id as it can be indexed: unlike a name, never one for two."""
    if _text(text) == text and len(text) <= LONGEST_TEXT and not text.startswith("sha256:"):
        return text
    return f"sha256:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
