"""A walk over the pages of a list, record by record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from makini_provider.api.client import MakiniClient
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import MakiniConfigurationError, MakiniPagingError
from makini_provider.api.records import Record, format_instant
from makini_provider.api.resources import Resource


def walk(
    client: MakiniClient,
    resource: Resource,
    *,
    since: datetime | None = None,
    before: datetime | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Read a list by its page numbers. Arguments are checked before the first record is asked for.

    :param client: the API
    :param resource: the list
    :param since: only records whose cursor is not before this instant
    :param before: only records whose cursor is before this instant
    :param filters: values by field or ``field:op``
    :raises MakiniConfigurationError: an argument is unusable
    """
    texts = filter_texts(filters)
    bounds = _bounds(resource, since, before)
    if both := bounds.keys() & texts.keys():
        raise MakiniConfigurationError(
            f"filters has {sorted(both)} and so have updated_since and updated_before.",
            remedy="Give each bound in one place.",
        )
    query = ListQuery(
        filters={**texts, **bounds},
        sort=resource.cursor_field if bounds else None,
        page_size=client.page_size,
    )
    return _records(client, resource, query, since, before)


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


def _bounds(resource: Resource, since: datetime | None, before: datetime | None) -> dict[str, str]:
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
    operators = {"gteq": since, "lt": before}
    return {
        f"{resource.cursor_field}:{operator}": format_instant(instant)
        for operator, instant in operators.items()
        if instant is not None
    }


def _records(
    client: MakiniClient,
    resource: Resource,
    query: ListQuery,
    since: datetime | None,
    before: datetime | None,
) -> Iterator[dict[str, Any]]:
    previous: list[bytes] = []
    number = 0
    while True:
        number += 1
        page, _ = client.list_page(
            resource, ListQuery(query.filters, query.sort, page=number, page_size=query.page_size)
        )
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
        for record in page.records:
            if _within(record, since, before):
                yield msgspec.json.decode(record.raw)
        if not page.has_more:
            return
        previous = current


def _within(record: Record, since: datetime | None, before: datetime | None) -> bool:
    """Whether the record lies in the bounds: whether a server honours a filter is known from what comes."""
    if since is None and before is None:
        return True
    cursor = record.cursor
    return cursor is not None and (since is None or cursor >= since) and (before is None or cursor < before)
