"""Reading a list record by record: by time where bounds are given, else by page numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from makini_provider.api.client import MakiniClient
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import MakiniConfigurationError, MakiniPagingError
from makini_provider.api.records import Record, format_instant
from makini_provider.api.resources import Resource
from makini_provider.sync.reading import Reader
from makini_provider.sync.windows import EARLIEST, Window

_FAR_AHEAD: Final = timedelta(days=3650)


def walk(
    client: MakiniClient,
    resource: Resource,
    *,
    since: datetime | None = None,
    before: datetime | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Read a list. Arguments are checked before the first record is asked for.

    With a bound it is read as the syncs read: no record slips through while the list changes, some may come
    twice. Without one it is walked once by page numbers, which a record that is deleted meanwhile can upset.

    :param client: the API
    :param resource: the list
    :param since: only records whose cursor is not before this instant
    :param before: only records whose cursor is before this instant
    :param filters: values by field or ``field:op``
    :raises MakiniConfigurationError: an argument is unusable
    """
    texts = filter_texts(filters)
    _check_bounds(resource, since, before)
    if since is None and before is None:
        return _decoded(_pages(client, resource, texts))
    both = [name for name in texts if name.split(":")[0] == resource.cursor_field]
    if both:
        raise MakiniConfigurationError(
            f"filters has {both} and so have updated_since and updated_before.",
            remedy="Give each bound in one place.",
        )
    window = Window(since or EARLIEST, before or client.clock.now() + _FAR_AHEAD)
    batches = Reader(client, resource, filters=texts).read(window)
    return _decoded(record for batch in batches for record in batch.records)


def filter_texts(filters: Mapping[str, Any] | None) -> dict[str, str]:
    """Write the values of filters as they are sent.

    :raises MakiniConfigurationError: a value has no one way to be written
    """
    return {str(name): _text(str(name), value) for name, value in (filters or {}).items()}


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return format_instant(value)
    raise MakiniConfigurationError(
        f"filters[{name!r}] must be text, a number, true or false, or a time with its time zone, not "
        f"{type(value).__name__}.",
        remedy="Write it as the text that the API is to get.",
    )


def _check_bounds(resource: Resource, since: datetime | None, before: datetime | None) -> None:
    given = {"updated_since": since, "updated_before": before}
    for name, instant in given.items():
        if instant is None:
            continue
        if not isinstance(instant, datetime) or instant.tzinfo is None:
            raise MakiniConfigurationError(
                f"{name} must be a time with its time zone, not {instant!r}.",
                remedy="Give datetime(2026, 8, 1, tzinfo=UTC), or a pendulum time.",
            )
        if resource.cursor_field is None:
            raise MakiniConfigurationError(
                f"{name} can't be used with {resource.name}: its records do not say when they were modified.",
                remedy="Read the whole list.",
            )
    if since is not None and before is not None and since >= before:
        raise MakiniConfigurationError(
            f"updated_since ({since}) must lie before updated_before ({before}).", remedy="Swap them."
        )


def _pages(client: MakiniClient, resource: Resource, filters: Mapping[str, str]) -> Iterator[Record]:
    previous: list[bytes] = []
    number = 0
    while True:
        number += 1
        page, _ = client.list_page(resource, ListQuery(filters, page=number, page_size=client.page_size))
        current = [record.raw for record in page.records]
        if page.has_more and not current:
            raise MakiniPagingError(
                f"page {number} of {resource.name} is empty and says that there are more.",
                remedy="Nothing was left out so far, but the rest can't be reached; try again later.",
            )
        if current and current == previous:
            raise MakiniPagingError(
                f"pages {number - 1} and {number} of {resource.name} are the same.",
                remedy="The server seems to ignore 'page' on this list; check the connection's host.",
            )
        yield from page.records
        if not page.has_more:
            return
        previous = current


def _decoded(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield msgspec.json.decode(record.raw)
