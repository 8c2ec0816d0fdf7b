"""The tables of the inbox, and how they come to be.

A new inbox gets the tables as they are below. An older one is brought up one version at a time, by
:data:`STEPS`, in one transaction and under a lock, so that receivers and workers may start at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    inspect,
    text,
)

from makini_provider.api.errors import MakiniConfigurationError

LONGEST_TEXT: Final = 255
"""Characters of a name; PostgreSQL can't index much longer ones."""


class Instant(TypeDecorator[datetime]):
    """A time with its zone, in UTC also where the database keeps none (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


METADATA: Final = MetaData()

EVENTS: Final = Table(
    "makini_inbox",
    METADATA,
    # Made by the receiver and sorted by time, so that a repeated insert of one event is seen as such.
    Column("id", String(36), primary_key=True),
    Column("endpoint", String(LONGEST_TEXT), nullable=False),
    Column("type", String(LONGEST_TEXT)),
    Column("event_id", String(LONGEST_TEXT)),
    Column("payload", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    # When it may be claimed: at once, after a pause, or when the lease of its worker has passed.
    Column("due_at", Instant, nullable=False),
    Column("worker", String(LONGEST_TEXT)),
    Column("lease", String(36)),
    # SHA-256 of the content until the first claim: as long as that, an equal event adds nothing.
    Column("unclaimed_digest", String(64)),
    Column("last_error", Text),
    Column("finished_at", Instant),
)

# What the receivers have counted: also what they refused, of which nothing else is kept.
TALLIES: Final = Table(
    "makini_inbox_tally",
    METADATA,
    Column("hour", Instant, primary_key=True),
    Column("endpoint", String(LONGEST_TEXT), primary_key=True),
    Column("what", String(LONGEST_TEXT), primary_key=True),
    Column("number", Integer, nullable=False),
)

_OPEN = text("finished_at IS NULL")

INDEXES: Final = (
    Index("makini_inbox_due", EVENTS.c.due_at, EVENTS.c.id, postgresql_where=_OPEN, sqlite_where=_OPEN),
    Index("makini_inbox_finished", EVENTS.c.state, EVENTS.c.finished_at),
    Index(
        "makini_inbox_event_id",
        EVENTS.c.endpoint,
        EVENTS.c.event_id,
        unique=True,
        postgresql_where=text("event_id IS NOT NULL"),
        sqlite_where=text("event_id IS NOT NULL"),
    ),
    Index(
        "makini_inbox_unclaimed",
        EVENTS.c.endpoint,
        EVENTS.c.unclaimed_digest,
        unique=True,
        postgresql_where=text("unclaimed_digest IS NOT NULL"),
        sqlite_where=text("unclaimed_digest IS NOT NULL"),
    ),
)

VERSIONS: Final = Table("makini_inbox_version", METADATA, Column("version", Integer, nullable=False))

STEPS: Sequence[Callable[[Connection], None]] = ()
"""From version 1 to 2, from 2 to 3, and so on."""


def migrate(connection: Connection) -> None:
    """Bring the tables to the version that this release knows; the caller commits.

    :raises MakiniConfigurationError: a newer release has been at work
    """
    if connection.dialect.name == "postgresql":
        # Two that create a table at once would collide, IF NOT EXISTS or not. The number is arbitrary.
        connection.execute(text("SELECT pg_advisory_xact_lock(7264011)"))
    newest = len(STEPS) + 1
    if not inspect(connection).has_table(VERSIONS.name):
        METADATA.create_all(connection)
        connection.execute(VERSIONS.insert().values(version=newest))
        return
    found = connection.execute(VERSIONS.select()).scalar_one()
    if found > newest:
        raise MakiniConfigurationError(
            f"the inbox has version {found} of its tables, and this release knows {newest} at most.",
            remedy="Install the newer release here too: all receivers and workers need the same.",
        )
    for step in STEPS[found - 1 :]:
        step(connection)
    if found < newest:
        connection.execute(VERSIONS.update().values(version=newest))
