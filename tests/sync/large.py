"""A list too large for the model: sorted once, answered from slices; nothing in it changes."""

from __future__ import annotations

import json
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from random import Random

from makini_provider.api.client import Integration
from makini_provider.api.dialects import ListQuery, Page, parse_list
from makini_provider.api.records import parse_instant
from makini_provider.api.resources import Resource
from tests.sync.model import written

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


class LargeList:
    """What a sync sees of it.

    :param records: how many there are
    :param spread: so far back go their times
    :param page_size: records in a page
    :param shuffled: equal times come in another order with each request
    :param parallel: requests that may be under way at once
    """

    def __init__(
        self,
        records: int,
        *,
        spread: timedelta,
        page_size: int = 100,
        shuffled: bool = False,
        parallel: int = 1,
    ) -> None:
        self.page_size = page_size
        self.max_parallel_requests = parallel
        self.requests_sent = 0
        self.clock = self
        self._random = Random(7) if shuffled else None
        self._times = [NOW - spread * (records - number) / records for number in range(records)]
        self._rows = [
            json.dumps({"key": f"K{number}", "updatedAt": written(at)})
            for number, at in enumerate(self._times)
        ]

    def now(self) -> datetime:
        return NOW

    def skew(self) -> float:
        return 0.0

    def integration(self) -> Integration:
        self.requests_sent += 1
        return Integration(None, None, {})

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        self.requests_sent += 1
        first, end = 0, len(self._rows)
        for name, value in query.filters.items():
            bound = parse_instant(value)
            assert bound is not None
            place = bisect_left(self._times, bound)
            first, end = (max(first, place), end) if name.endswith(":gteq") else (first, min(end, place))
        size, total = query.page_size or 100, max(end - first, 0)
        offset = (query.page - 1) * size
        if self._random is not None:
            chosen = self._random.sample(range(first, end), min(size, max(total - offset, 0)))
        else:
            order = range(first, end) if query.ascending else range(end - 1, first - 1, -1)
            chosen = list(order[offset : offset + size])
        meta = {"current_page": query.page, "last_page": max(-(-total // size), 1), "total": total}
        body = f'{{"data": [{",".join(self._rows[i] for i in chosen)}], "meta": {json.dumps(meta)}}}'
        return parse_list(body.encode(), resource, query), NOW
