"""
What a list request asks for, and whether a record answers it. Pure: no records are held here.

Values are compared as moments where both sides are dates, else as numbers where both are, else as text.
A record that lacks the field matches no filter, and stands first when sorted ascending.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from .clock import iso

Precision = Literal["microsecond", "second", "day"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PARAMETER = re.compile(r"(filter|sort)\[([^]:]+)(?::([^]]*))?]")

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": eq,
    "gt": gt,
    "gteq": ge,
    "lt": lt,
    # The documentation says `lted`, other servers of this make say `lteq`.
    "lted": le,
    "lteq": le,
}
OPERATORS = (*_COMPARISONS, "contains", "startsWith")


class BadQueryError(Exception):
    """A request that is answered with 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@lru_cache(maxsize=500_000)
def instant(text: str) -> int | None:
    """Return the microseconds since 1970 of an ISO 8601 date or time, or None where it is none."""
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def sort_key(value: Any) -> tuple[int, Any]:
    """Return what a value is sorted by: nulls, then numbers, then moments, then text."""
    if value is None:
        return (0, 0)
    if isinstance(value, str) and (moment := instant(value)) is not None:
        return (2, moment)
    if (number := _number(value)) is not None:
        return (1, number)
    return (3, _text(value))


@dataclass(frozen=True, slots=True)
class Filter:
    """``filter[field:op]=text``."""

    field: str
    op: str
    text: str

    def predicate(self) -> Callable[[Any], bool]:
        """Return the test of one value of the field."""
        one = self._comparison() if self.op in _COMPARISONS else self._search()

        def matches(value: Any) -> bool:
            if value is None:
                return False
            return any(map(one, value)) if isinstance(value, list) else one(value)

        return matches

    def _comparison(self) -> Callable[[Any], bool]:
        compare, text = _COMPARISONS[self.op], self.text
        moment, number = instant(text), _number(text)
        # "007" is not equal to "7", but comes before "8".
        as_number = (int, float) if self.op == "eq" else (int, float, str)

        def matches(value: Any) -> bool:
            if moment is not None and isinstance(value, str) and (found := instant(value)) is not None:
                return compare(found, moment)
            if number is not None and isinstance(value, as_number) and (size := _number(value)) is not None:
                return compare(size, number)
            return compare(_text(value), text)

        return matches

    def _search(self) -> Callable[[Any], bool]:
        text = self.text.casefold()
        if self.op == "contains":
            return lambda value: text in _text(value).casefold()
        return lambda value: _text(value).casefold().startswith(text)

    def truncated(self, precision: Precision) -> Filter:
        """Return the filter as a server understands it that keeps only so much of a time."""
        moment = instant(self.text)
        if moment is None or precision == "microsecond":
            return self
        step = 1_000_000 if precision == "second" else 86_400_000_000
        return replace(self, text=iso(_EPOCH + timedelta(microseconds=moment // step * step)))


@dataclass(frozen=True, slots=True)
class Query:
    """
    A list request, understood.

    :param filters: the filters in the order given.
    :param match_all: whether all of them must match, or any.
    :param sort: fields, and whether each is descending.
    :param page: number of the page, from 1.
    :param per_page: its size.
    """

    filters: tuple[Filter, ...]
    match_all: bool
    sort: tuple[tuple[str, bool], ...]
    page: int
    per_page: int


def parse(
    params: Iterable[tuple[str, str]],
    *,
    fields: set[str],
    per_page_default: int,
    max_per_page: int,
    declares_per_page: bool,
) -> Query:
    """
    Understand the parameters of a list request. Parameters it does not know are ignored.

    :param params: names and values in the order given.
    :param fields: the fields that the list's records have.
    :param per_page_default: size of the page when none is asked for.
    :param max_per_page: a larger page is cut to this size silently.
    :param declares_per_page: whether the list honours ``per_page``.
    :raises BadQueryError: for what is answered with 400.
    """
    filters: list[Filter] = []
    sort: list[tuple[str, bool]] = []
    page, per_page, match = 1, per_page_default, "all"
    for name, value in params:
        if name == "page":
            page = _positive(name, value)
        elif name == "per_page" and declares_per_page:
            per_page = _positive(name, value)
        elif name == "filterMatch":
            match = _one_of(name, value, ("all", "any"))
        elif found := _PARAMETER.fullmatch(name):
            kind, field, op = found.groups()
            if field not in fields:
                raise BadQueryError(
                    "UNKNOWN_FIELD", f"{name}: no record of this list has the field {field!r}"
                )
            if kind == "sort":
                sort.append((field, _one_of(name, value, ("0", "1")) == "1"))
            else:
                filters.append(Filter(field, _one_of(name, op or "eq", OPERATORS), value))
    return Query(tuple(filters), match == "all", tuple(sort), page, min(per_page, max_per_page))


def page_of(
    found: Sequence[Any], query: Query, path: str, params: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """
    Return a page of what was found, as the API does.

    :param found: all records that the query asks for, in order.
    :param query: which page.
    :param path: address of the list.
    :param params: of the request; the links repeat them.
    """
    others = urlencode([(name, value) for name, value in params if name != "page"])
    prefix = f"{path}?{others}&page=" if others else f"{path}?page="
    page, total = query.page, len(found)
    last = max(1, -(-total // query.per_page))
    start = (page - 1) * query.per_page
    data = list(found[start : start + query.per_page])
    return {
        "data": data,
        "links": {
            "first": f"{prefix}1",
            "last": f"{prefix}{last}",
            "prev": f"{prefix}{page - 1}" if page > 1 else None,
            "next": f"{prefix}{page + 1}" if page < last else None,
        },
        "meta": {
            "current_page": page,
            "from": start + 1 if data else None,
            "last_page": last,
            "path": path,
            "per_page": query.per_page,
            "to": start + len(data) if data else None,
            "total": total,
        },
    }


def _positive(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise BadQueryError("INVALID_PARAMETER", f"{name} must be a whole number from 1 on, not {value!r}")
    return int(value)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise BadQueryError("INVALID_PARAMETER", f"{name}: {value!r} is none of {', '.join(allowed)}")
    return value


def check_precision(precision: str) -> None:
    """Raise ValueError for a precision that is none."""
    if precision not in get_args(Precision):
        raise ValueError(f"filter_precision must be one of {get_args(Precision)}, not {precision!r}")
