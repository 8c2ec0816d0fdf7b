"""Whose records of which kind: the identity of what is synced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from makini_provider.api.resources import Resource


@dataclass(frozen=True, slots=True)
class Source:
    """Whose data it is.

    :param conn_id: the Airflow connection
    :param makini_connection: the Makini connection's id, where one Airflow connection serves many
    """

    conn_id: str
    makini_connection: str | None = None

    def __str__(self) -> str:
        return self.conn_id if self.makini_connection is None else f"{self.conn_id}@{self.makini_connection}"


class Fingerprint(msgspec.Struct, frozen=True):
    """What coverage depends on: windows read with another fingerprint hold other records.

    :param cursor_field: field that the windows are about, or ``None`` for snapshots
    :param filters: what narrows the stream
    :param dialect: of the API that was spoken
    """

    cursor_field: str | None
    filters: dict[str, str]
    dialect: str = "published"


@dataclass(frozen=True, slots=True)
class Stream:
    """A resource of a source, as one destination holds it.

    :param source: whose data
    :param resource: which list
    :param filters: values by ``field`` or ``field:op`` that narrow the list
    """

    source: Source
    resource: Resource
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> Fingerprint:
        """What its coverage depends on."""
        return Fingerprint(self.resource.cursor_field, dict(sorted(self.filters.items())))

    def __str__(self) -> str:
        return f"{self.source}/{self.resource.name}"
