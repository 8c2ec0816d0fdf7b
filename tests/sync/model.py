"""A model of a Makini list that changes while it is read, and of a server with habits of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from threading import RLock
from typing import Any

from makini_provider.api.client import Integration
from makini_provider.api.dialects import ListQuery, Page, parse_list, parse_single
from makini_provider.api.errors import MakiniNotFoundError, MakiniStatusError
from makini_provider.api.records import Record, parse_instant
from makini_provider.api.resources import Resource

MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@dataclass
class Habits:
    """How a server answers.

    :param most_per_page: page size that it cuts larger ones to
    :param precision: to which it cuts the times of filters
    :param sort_precision: to which it sorts by time
    :param unstable: whether equal values come in another order each time
    :param filters: whether it honours filters by the cursor field
    :param upper_bounds: whether it honours the upper one of two bounds
    :param sorts: whether it honours a sort
    :param descends: whether it honours a descending order, and does not ascend instead
    :param plain_dates: whether it refuses a filter with a time of day
    :param natural: order of a list that is not sorted: by ``key``, by ``cursor``, the newest first, or
        by ``none``, as the records come
    :param totals: whether it tells the list's total
    """

    most_per_page: int = 1000
    precision: timedelta = MICROSECOND
    sort_precision: timedelta = MICROSECOND
    unstable: bool = False
    filters: bool = True
    upper_bounds: bool = True
    sorts: bool = True
    descends: bool = True
    plain_dates: bool = False
    natural: str = "key"
    totals: bool = True


@dataclass
class ModelSource:
    """The records behind a list, the clock of their server, and how it answers.

    :param random: makes everything that happens here repeatable
    :param now: the server's clock
    """

    random: Random
    now: datetime = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
    habits: Habits = field(default_factory=Habits)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    versions: int = 0
    made: int = 0

    def tick(self, most: timedelta = timedelta(milliseconds=50)) -> datetime:
        self.now += max(most * self.random.random(), MICROSECOND)
        return self.now

    def insert(self, at: datetime | None = None) -> str:
        self.made += 1
        key = f"K{self.random.randrange(10**6):06d}-{self.made}"
        self.write(key, at or self.tick())
        return key

    def write(self, key: str, at: datetime | None) -> None:
        self.versions += 1
        created = self.records.get(key, {}).get("createdAt") or written(self.now)
        self.records[key] = {
            "key": key,
            "createdAt": created,
            "updatedAt": None if at is None else written(at),
            "deletedAt": None,
            "version": self.versions,
        }

    def update(self) -> None:
        if self.records:
            self.write(self.random.choice(list(self.records)), self.tick())

    def soft_delete(self) -> None:
        if self.records:
            key = self.random.choice(list(self.records))
            self.write(key, self.tick())
            self.records[key]["deletedAt"] = self.records[key]["updatedAt"]

    def hard_delete(self) -> None:
        if self.records:
            key = self.random.choice(list(self.records))
            del self.records[key]
            self.deleted.add(key)

    def import_many(self, count: int) -> None:
        """Many records with one timestamp."""
        at = self.tick()
        for _ in range(count):
            self.insert(at)

    def mutate(self) -> None:
        """Any change."""
        change = self.random.choices(
            [self.update, self.insert, self.soft_delete, self.hard_delete], [6, 3, 1, 2]
        )[0]
        change()

    def answer(self, query: ListQuery) -> bytes:
        """The answer to a list request, as a server with these habits gives it."""
        rows = [row for row in self.records.values() if self._matches(row, query)]
        rows = self._sorted(rows, query)
        size = min(query.page_size or 100, self.habits.most_per_page)
        last = max(-(-len(rows) // size), 1)
        first = (query.page - 1) * size
        meta: dict[str, Any] = {"current_page": query.page, "per_page": size}
        if self.habits.totals:
            meta |= {"last_page": last, "total": len(rows)}
        links = {"next": f"?page={query.page + 1}" if query.page < last else None}
        return json.dumps({"data": rows[first : first + size], "links": links, "meta": meta}).encode()

    def _matches(self, row: dict[str, Any], query: ListQuery) -> bool:
        for name, value in query.filters.items():
            field_name, _, operator = name.partition(":")
            if not operator:
                if row.get(field_name) != value:
                    return False
                continue
            if self.habits.plain_dates and len(value) > 10:
                raise MakiniStatusError("a date is wanted.", status=400)
            if not self.habits.filters or (operator == "lt" and not self.habits.upper_bounds):
                continue
            bound = parse_instant(value)
            cursor = parse_instant(row[field_name])
            assert bound is not None
            bound = cut(bound, self.habits.precision)
            if cursor is None or not (cursor >= bound if operator == "gteq" else cursor < bound):
                return False
        return True

    def _sorted(self, rows: list[dict[str, Any]], query: ListQuery) -> list[dict[str, Any]]:
        if self.habits.unstable:
            self.random.shuffle(rows)
        by = query.sort if self.habits.sorts else None
        if by is None:
            if self.habits.natural == "none":
                return rows
            if self.habits.natural == "key":
                return sorted(rows, key=lambda row: row["key"])
            newest = self.habits.natural == "newest"
            return sorted(rows, key=lambda row: row["updatedAt"] or "", reverse=newest)

        def value(row: dict[str, Any]) -> datetime:
            instant = parse_instant(row[by])
            return (
                datetime.min.replace(tzinfo=UTC)
                if instant is None
                else cut(instant, self.habits.sort_precision)
            )

        return sorted(rows, key=value, reverse=self.habits.descends and not query.ascending)


class ModelClient:
    """What a sync sees of the model.

    :param source: the model
    :param before_request: called before each request with its number, from 1: changes, faults, other runs
    :param parallel: requests that the sync may have under way at once; the model answers one after the other
    :param skew: how far the server's clock is ahead of this machine's
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        page_size: int = 100,
        before_request: Callable[[int], object] = lambda number: None,
        integration: Callable[[], Integration] = lambda: Integration(None, None, {}),
        parallel: int = 1,
        skew: timedelta = timedelta(0),
    ) -> None:
        self.page_size = page_size
        self.max_parallel_requests = parallel
        self.requests_sent = 0
        self.queries: list[ListQuery] = []
        self._source = source
        self._before_request = before_request
        self._integration = integration
        self._lock = RLock()
        self.clock = _Clock(source, skew)

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        with self._lock:
            self.requests_sent += 1
            asked_at = self._source.tick()
            self._before_request(self.requests_sent)
            self.queries.append(query)
            return parse_list(self._source.answer(query), resource, query), asked_at

    def read_record(self, resource: Resource, key: str) -> tuple[Record, datetime]:
        self.requests_sent += 1
        asked_at = self._source.tick()
        self._before_request(self.requests_sent)
        if key not in self._source.records:
            raise MakiniNotFoundError(f"there is no {key}.", status=404)
        return parse_single(json.dumps({"data": self._source.records[key]}).encode(), resource), asked_at

    def integration(self) -> Integration:
        self.requests_sent += 1
        self._before_request(self.requests_sent)
        return self._integration()


class _Clock:
    def __init__(self, source: ModelSource, skew: timedelta) -> None:
        self._source = source
        self._skew = skew

    def now(self) -> datetime:
        return self._source.now

    def skew(self) -> float:
        return self._skew.total_seconds()


def cut(instant: datetime, precision: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (instant - epoch) // precision * precision


def written(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
