"""Records of one list, kept so that a filtered and sorted page of many thousands costs little."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from .catalogue import ListEndpoint
from .query import Filter, Query, instant, sort_key

# Stands for "no value" in a column of moments: nulls come first.
_NULL = -(2**63)
_REMEMBERED_ANSWERS = 32

# Which part of an ascending column a comparison leaves: where it begins, where it ends.
_BEGIN: dict[str, Callable[[Sequence[int], int], int]] = {
    "gt": bisect_right,
    "gteq": bisect_left,
    "eq": bisect_left,
}
_END: dict[str, Callable[[Sequence[int], int], int]] = {
    "lt": bisect_left,
    "lted": bisect_right,
    "lteq": bisect_right,
    "eq": bisect_right,
}


class Record(dict[str, Any]):
    """One record. It is never changed: a change puts another one in its place."""

    __slots__ = ("_json",)
    _json: bytes

    def json(self) -> bytes:
        """Return the record as JSON, written once."""
        try:
            return self._json
        except AttributeError:
            self._json = json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode()
            return self._json


class Table:
    """
    The records of one list, in the order of their insertion.

    :param endpoint: the list.
    :param records: what it holds at first.
    """

    def __init__(self, endpoint: ListEndpoint, records: Iterable[Record]) -> None:
        self.endpoint = endpoint
        self.fields = set(endpoint.fields)
        #: Custom fields of work orders have no key: their name is what tells them apart.
        self.identity = "key" if "key" in endpoint.fields else "name"
        self._records: dict[str, Record] = {}
        self._orders: dict[Any, list[Record]] = {}
        self._columns: dict[Any, list[int] | None] = {}
        self._answers: dict[Any, list[Record]] = {}
        self._places: dict[str, int] = {}
        for record in records:
            self.put(record)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def get(self, key: str) -> Record | None:
        """Return a record by its key."""
        return self._records.get(key)

    def keys(self) -> list[str]:
        """Return all keys, in order of insertion."""
        return list(self._records)

    def records(self) -> list[Record]:
        """Return all records, in order of insertion."""
        return list(self._records.values())

    def put(self, record: Record) -> None:
        """Add a record, or put it in the place of the one with its key."""
        self._records[record[self.identity]] = record
        self.fields |= record.keys()
        self._forget()

    def remove(self, key: str) -> None:
        """Remove a record, if it is there."""
        self._records.pop(key, None)
        self._forget()

    def _forget(self) -> None:
        if self._orders:
            self._orders, self._columns, self._answers, self._places = {}, {}, {}, {}

    def select(self, query: Query, shuffle: Random | None = None) -> list[Record]:
        """
        Return all records that a query asks for, in its order.

        :param query: its page is not looked at.
        :param shuffle: when given, equal sort values come in a new order each time.
        """
        if shuffle and query.sort:
            mixed = self.records()
            shuffle.shuffle(mixed)
            return _filtered(_arranged(mixed, query.sort), query.filters, query.match_all)
        asked = (query.filters, query.match_all, query.sort)
        answer = self._answers.get(asked)
        if answer is None:
            if len(self._answers) >= _REMEMBERED_ANSWERS:
                self._answers.clear()
            answer = self._answers[asked] = self._select(query)
        return answer

    def _select(self, query: Query) -> list[Record]:
        sort = query.sort
        if query.match_all and not sort:
            # Ordered by a field that is filtered for a time, most records need not be looked at.
            sort = next((((one.field, False),) for one in query.filters if _is_place(one)), sort)
        ordered, column = self._ordered(sort)
        if column is None or not query.match_all:
            return _filtered(
                ordered if sort == query.sort else self.records(), query.filters, query.match_all
            )
        # The first sort field is ascending and holds moments: its filters are places in the order.
        begin, end, others = 0, len(column), []
        for one in query.filters:
            moment = instant(one.text)
            if one.field != sort[0][0] or moment is None or not _is_place(one):
                others.append(one)
                continue
            after_nulls = bisect_right(column, _NULL)
            begin = max(begin, _BEGIN[one.op](column, moment) if one.op in _BEGIN else after_nulls)
            end = min(end, _END[one.op](column, moment)) if one.op in _END else end
        found = _filtered(ordered[begin:end], others, match_all=True)
        return found if query.sort else self._as_inserted(found)

    def _as_inserted(self, records: list[Record]) -> list[Record]:
        if not self._places:
            self._places = {key: place for place, key in enumerate(self._records)}
        return sorted(records, key=lambda record: self._places[record[self.identity]])

    def _ordered(self, sort: tuple[tuple[str, bool], ...]) -> tuple[list[Record], list[int] | None]:
        if sort not in self._orders:
            ordered = self._orders[sort] = _arranged(self.records(), sort)
            ascending = bool(sort) and not sort[0][1]
            self._columns[sort] = _moments(ordered, sort[0][0]) if ascending else None
        return self._orders[sort], self._columns[sort]


def _is_place(one: Filter) -> bool:
    return (one.op in _BEGIN or one.op in _END) and instant(one.text) is not None


def _arranged(records: list[Record], sort: Iterable[tuple[str, bool]]) -> list[Record]:
    for field, descending in reversed(list(sort)):
        records = sorted(records, key=lambda record: sort_key(record.get(field)), reverse=descending)
    return records


def _moments(records: Iterable[Record], field: str) -> list[int] | None:
    column = []
    for record in records:
        value = record.get(field)
        moment = _NULL if value is None else instant(value) if isinstance(value, str) else None
        if moment is None:
            return None
        column.append(moment)
    return column


def _filtered(records: list[Record], filters: Sequence[Filter], match_all: bool) -> list[Record]:
    if not filters:
        return records
    tests = [(wanted.field, wanted.predicate()) for wanted in filters]
    if match_all:
        for field, test in tests:
            records = [record for record in records if test(record.get(field))]
        return records
    return [record for record in records if any(test(record.get(field)) for field, test in tests)]
