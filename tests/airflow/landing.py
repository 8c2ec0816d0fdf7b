"""What landed at a destination, and what the API has: to be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

from makini_provider.api.resources import get_resource
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import committed_files, newest_records, stream_state
from makini_provider.destinations.files.store import open_store
from makini_provider.sandbox import Sandbox
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.streams import Source, Stream

Records = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Landing:
    """A destination in a local folder."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"file://{self.folder}"

    def stream(self, resource: str, conn_id: str = "makini_default", customer: str | None = None) -> Path:
        return self.folder / _folder(resource, conn_id, customer)

    def state(
        self, resource: str, conn_id: str = "makini_default", customer: str | None = None
    ) -> StreamState:
        return stream_state(open_store(self.uri), _folder(resource, conn_id, customer))

    def files(self, resource: str, conn_id: str = "makini_default", customer: str | None = None) -> list[str]:
        return committed_files(open_store(self.uri), _folder(resource, conn_id, customer))

    def records(self, resource: str, conn_id: str = "makini_default", customer: str | None = None) -> Records:
        """The newest version of each record, by key; each is given once."""
        lines = list(newest_records(open_store(self.uri), _folder(resource, conn_id, customer)))
        records = {record["key"]: record for record in map(json.loads, lines)}
        assert len(records) == len(lines)
        return records


def _folder(resource: str, conn_id: str, customer: str | None) -> str:
    return stream_folder(Stream(Source(conn_id, customer), get_resource(resource)))


def truth(sandbox: Sandbox, resource: str) -> Records:
    """All records that the API has, by key."""
    request = Request(
        f"{sandbox.url}/_sandbox/records?resource={resource}",
        headers={"Authorization": f"Bearer {sandbox.token}"},
    )
    with urlopen(request) as answer:
        return {record["key"]: record for record in json.load(answer)["data"]}


def cursor(resource: str, record: dict[str, Any]) -> datetime | None:
    field = get_resource(resource).cursor_field
    value = record[field] if field else None
    return datetime.fromisoformat(value) if value else None


def since(resource: str, records: Records, start: datetime) -> Records:
    """Those that a sync from ``start`` on brings: with a cursor from there on, or without one."""
    return {key: record for key, record in records.items() if (cursor(resource, record) or start) >= start}


def between(resource: str, records: Records, start: datetime, end: datetime) -> Records:
    return {
        key: record
        for key, record in records.items()
        if (instant := cursor(resource, record)) is not None and start <= instant < end
    }


def window(receipt: dict[str, Any]) -> tuple[datetime, datetime]:
    """The one window of a receipt."""
    ((start, end),) = receipt["windows"]
    return datetime.fromisoformat(start), datetime.fromisoformat(end)


def asked_from(sandbox: Sandbox, resource: str) -> list[datetime]:
    """Where the requests that were sent for a list begin, in their order."""
    return [instant for path, instant in _asked(sandbox) if path == f"/api/{resource}"]


def lists_asked(sandbox: Sandbox) -> set[str]:
    """The lists that were asked for."""
    return {
        request["path"].removeprefix("/api/")
        for request in sandbox.requests
        if request["path"] != "/api/integrations/current"
    }


def _asked(sandbox: Sandbox) -> Iterator[tuple[str, datetime]]:
    for request in sandbox.requests:
        for name, value in parse_qsl(request["query"]):
            if name.startswith("filter[") and name.endswith(":gteq]"):
                yield request["path"], datetime.fromisoformat(value).astimezone(UTC)
