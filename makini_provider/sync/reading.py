"""Reading a window of a list while the list changes, so that nothing in it is missed.

The way is to seek by value: ask for the first page from the last cursor value seen, ascending, again and
again. A record that is changed meanwhile moves behind what is being read, and no other moves with it.
Whether the server really filters and sorts is judged from the records and the totals that come; where it
does not, the list is walked by page numbers until it is known to be complete (:mod:`.walking`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from makini_provider.api.dialects import Page
from makini_provider.api.records import Record
from makini_provider.api.resources import Resource
from makini_provider.sync.cursor_list import CursorList, ListClient
from makini_provider.sync.habits import (
    COARSER,
    DAY,
    SECOND,
    NotHonouredError,
    ServerHabits,
    cut,
    precision_that_explains,
)
from makini_provider.sync.walking import Batch, Walk
from makini_provider.sync.windows import EARLIEST, Window

_NO_CHANCE: Final = 10
"""More records than this in the right order, of a page or of a second, are not so by chance."""
_MOST_ASKED_FOR_TWICE: Final = 0.1
"""The part of a page that may be asked for again to start the next one at a full second."""
_FAR_AHEAD: Final = timedelta(days=3650)


class Reader:
    """Reads windows of one list.

    :param client: the API
    :param resource: the list; it has a cursor field
    :param filters: narrows the list, by ``field`` or ``field:op``
    :param undated: whether records that no window can hold are wanted where a walk comes across them
    :param habits: what is known of the server
    """

    def __init__(
        self,
        client: ListClient,
        resource: Resource,
        *,
        filters: Mapping[str, str] | None = None,
        undated: bool = False,
        habits: ServerHabits | None = None,
    ) -> None:
        self.habits = habits or ServerHabits()
        self._list = CursorList(client, resource, dict(filters or {}), self.habits)
        self._resource = resource
        self._cursor = self._list.cursor
        self._undated = undated
        self._latest: Page | None = None
        """The list's other end, where it was asked for already."""

    def read(self, window: Window) -> Iterator[Batch]:
        """Read a window: every record whose cursor stays in it is delivered, and any other may be.

        :raises UnstableReadError: it had to be walked, and changed during every pass
        :raises MakiniRequestError: a request failed for good
        """
        position = window.start
        while position < window.end:
            seeking = self.habits.filters and self.habits.sorts
            rest = Window(position, window.end)
            try:
                for batch in self._seek(rest) if seeking else self._walk(rest):
                    position = max(position, batch.complete_before or position)
                    yield batch
            except NotHonouredError as found:
                self._do_without(found)

    def records_without_cursor(self) -> Iterator[Batch]:
        """Read the records that no window holds: without a cursor value, or dated before everything.

        Counts tell whether there are any.
        """
        try:
            found = self.habits.filters and self._has_undated()
        except NotHonouredError as found_out:
            self._do_without(found_out)
            return
        if found:
            yield from self._walked({}, self._steady_sort, _is_undated).batches()

    def _has_undated(self) -> bool:
        for _ in range(3):
            # Sorted by their time, undated records stand at one of the ends, wherever the server puts them.
            first, _ = self._list.first_page({}, ascending=True, page_size=1)
            dated = self._list.count({"gteq": EARLIEST})
            last, _ = self._list.first_page({}, ascending=False)
            self._latest = last
            if any(_is_undated(record) for record in (*first.records, *last.records)):
                return True
            if first.total is None or dated is None:
                return False
            if first.total == last.total:
                return first.total > dated
        return True

    def count_from(self, instant: datetime) -> int | None:
        """How many records have a cursor from an instant on; ``None`` where that can't be told."""
        try:
            return self._list.count({"gteq": instant})
        except NotHonouredError:
            return None

    def twin(self) -> Reader:
        """Another reader of the same list, for another thread."""
        client, filters = self._list.client, self._list.filters
        return Reader(client, self._resource, filters=filters, undated=self._undated, habits=self.habits)

    def examine(self) -> None:
        """Put filter, sort and precision to the test; :attr:`habits` tell what was found."""
        try:
            hop = self._hop(EARLIEST)
            self._hop(hop.read_at + _FAR_AHEAD)
            if hop.last is not None:
                self._prove_sort(hop)
                self._prove_precision(hop.last)
                self._hop(hop.last)
        except NotHonouredError as found:
            self._do_without(found)

    def _do_without(self, found: NotHonouredError) -> None:
        self.habits.filters &= found.filters
        self.habits.sorts = False
        self.habits.note(f"{self._resource.name}: {found}; the list is read page by page until it is stable.")

    # Seeking by value

    def _seek(self, window: Window) -> Iterator[Batch]:
        position = safe = window.start  # everything before ``safe`` is delivered for certain
        before: _Hop | None = None
        while self.habits.filters and self.habits.sorts:
            precision = self._list.adopt_precision()
            hop = self._hop(position)
            last = hop.last
            step = self._step(hop)
            if hop.page.has_more and last is None:
                raise NotHonouredError(
                    f"the server let undated records pass the filter on {self._cursor}", filters=False
                )
            missed = self._unseen_between(before, hop) if before else []
            block = finished = False
            if not hop.page.has_more or last is None:
                finished = True
            elif cut(last, step) <= hop.start:
                block = True
            elif cut(last, max(step, SECOND)) >= window.end:
                # A whole second beyond the end, in case the server sorts only to the second.
                missed = [*missed, *self._unshown(hop, cut(last, step))]
                finished = True
            if self._list.known_precision != precision:
                # What came since was judged by a finer measure than the server goes by.
                position, before = safe, None
                continue
            records = missed if block else [*missed, *hop.page.records]
            known = before.versions if before else frozenset()
            safe = max(hop.start, window.start)
            yield Batch(
                [r for r in records if self._wanted(r, window) and (r.identity, r.cursor) not in known],
                hop.read_at,
                window.end if finished else safe,
                0 if finished else hop.remaining,
            )
            if finished or last is None:
                return
            if not self.habits.sort_proved:
                self._prove_sort(hop)
            missed = [] if self.habits.sort_proved else self._unshown(hop, cut(last, step))
            if missed:
                yield Batch([r for r in missed if self._wanted(r, window)], hop.read_at)
            if block:
                self._prove_precision(last)
            if self._list.known_precision != precision:
                position, before = safe, None
                continue
            if block:
                # One instant (or second, or day) fills the whole page.
                start = cut(hop.start, step)
                position = safe = yield from self._block(start, start + step, window)
                before = None
                if position >= window.end:
                    yield Batch([], hop.read_at, window.end, 0)
                    return
            else:
                position, before = cut(last, step), hop

    def _hop(self, position: datetime) -> _Hop:
        """The first page from a position, judged."""
        while True:
            start = self._list.floor(position)
            page, read_at = self._list.first_page({"gteq": start}, ascending=True)
            hop = _Hop(start, page, read_at)
            coarser = self._judge(hop)
            if coarser is not None:
                self._list.go_by(coarser)
            if self._list.floor(position) == start:
                return hop

    def _step(self, hop: _Hop) -> timedelta:
        """How finely the next hop may follow on this one.

        A server that filters more finely than it sorts may have left out a record just before the last one
        shown. So the next hop starts at a full day, or else a full second, unless so many records of it are
        shown that this would cost many requests; then their order is the proof. (Without totals it would be
        the only one, so that a full second is the least.)
        """
        finest = max(self._list.precision, SECOND) if hop.page.total is None else self._list.precision
        cursors = [record.cursor for record in hop.page.records if record.cursor is not None]
        few = max(_NO_CHANCE, _MOST_ASKED_FOR_TWICE * self._list.page_size)
        # A second that fills a page is read as a block; a day would be too much for that.
        for step, most in ((DAY, min(few, len(cursors)) / 2), (SECOND, few)):
            if step > finest and sum(1 for c in cursors if c >= cut(max(cursors), step)) <= most:
                return step
        return finest

    def _judge(self, hop: _Hop) -> timedelta | None:
        """Whether the page is filtered and sorted as asked; a coarser precision, where that explains it."""
        latest = hop.start
        for record in hop.page.records:
            if record.cursor is None:
                continue
            if record.cursor < latest:
                coarser = precision_that_explains(record.cursor, latest)
                if coarser is None:
                    filtered = record.cursor >= hop.start
                    what = "sort by" if filtered else "filter on"
                    raise NotHonouredError(f"the server ignored the {what} {self._cursor}", filters=filtered)
                if coarser > self._list.precision:
                    return coarser
            latest = max(latest, record.cursor)
        return None

    def _unseen_between(self, before: _Hop, hop: _Hop) -> list[Record]:
        """Check that the server has no record between two hops that the first did not show.

        In a sorted list, as many records remain from a hop on as the hop before had behind those it showed.
        When fewer do, records were deleted, or the list is not sorted by the cursor at all.
        """
        if before.page.total is None or hop.page.total is None:
            return []
        if hop.page.total >= before.page.total - before.shown_before(hop.start):
            return []
        return self._unshown(before, hop.start)

    def _unshown(self, hop: _Hop, end: datetime) -> list[Record]:
        """Ask for what the server has from a hop to ``end``, and return what the hop did not show of it.

        A number would not do: a shown record that has moved on since makes up for one that was never shown.
        """
        precision = self._list.precision
        if end <= hop.start or hop.last is None:
            return []
        self._prove_precision(hop.last)
        if self._list.precision != precision:
            return []  # What the hop showed is judged anew.
        page, _ = self._list.first_page({"gteq": hop.start, "lt": end}, ascending=True)
        self._judge_bounds(page, hop.start, end)
        if page.has_more:
            raise NotHonouredError(f"the server does not sort by {self._cursor}", filters=True)
        return [record for record in page.records if (record.identity, record.cursor) not in hop.versions]

    def _prove_sort(self, hop: _Hop) -> None:
        """Sorted the other way round, a list begins with later records, and with none of those shown.

        A short list or page, equal times, or records that moved between the two requests prove nothing.
        """
        page = self._latest or self._list.first_page({"gteq": hop.start}, ascending=False)[0]
        self._latest = None
        descending = [self._list.floor(r.cursor) for r in page.records if r.cursor is not None]
        for one, next_one in pairwise(descending):
            if next_one > one:
                coarser = precision_that_explains(one, next_one)
                if coarser is None:
                    raise NotHonouredError(f"the server ignored the sort by {self._cursor}", filters=True)
                self._list.go_by(coarser)
                return
        shown = {self._list.floor(r.cursor) for r in hop.page.records if r.cursor is not None}
        other_end = hop.versions.isdisjoint((r.identity, r.cursor) for r in page.records)
        by_chance = len(hop.page.records) <= _NO_CHANCE or len(shown) < 2
        if not by_chance and descending and descending[0] > max(shown) and other_end:
            self.habits.sort_proved = True

    def _prove_precision(self, last: datetime) -> None:
        """An upper bound that the server cuts to the second or the day leaves a record's instant empty."""
        while not self.habits.bounds_proved:
            start = self._list.floor(last)
            # Not by the total, which some servers do not tell.
            page, _ = self._list.page({"gteq": start, "lt": start + self._list.precision}, None, 1, 1)
            coarser = COARSER.get(self._list.precision)
            if page.records:
                self.habits.bounds_proved = True
            elif coarser is not None:
                self._list.go_by(coarser)
            else:
                raise NotHonouredError(
                    f"the server finds nothing by two bounds of {self._cursor}", filters=True
                )

    def _block(self, start: datetime, end: datetime, window: Window) -> Generator[Batch, None, datetime]:
        """Walk the records of one instant, second or day, and return where they end."""
        walk = Walk(
            lambda number, size: self._bounded_page(start, end, number, size),
            page_size=self._list.page_size,
            wanted=lambda record: self._wanted(record, window),
            what=self._resource.name,
        )
        yield from walk.batches()
        return end

    def _bounded_page(
        self, start: datetime, end: datetime, number: int, page_size: int
    ) -> tuple[Page, datetime]:
        """A page of the records of one instant, second or day, and of nothing else."""
        # By its cursor, a record that is updated within the day would move the others up over an edge.
        sort = (self._list.precision == DAY and self._steady_sort) or (self._cursor, True)
        page, read_at = self._list.page({"gteq": start, "lt": end}, sort, number, page_size)
        self._judge_bounds(page, start, end)
        return page, read_at

    def _judge_bounds(self, page: Page, start: datetime, end: datetime) -> None:
        """Whether nothing on a page lies outside what it was asked for."""
        for record in page.records:
            if record.cursor is not None and not start <= record.cursor < end:
                below = record.cursor < start
                raise NotHonouredError(
                    f"the server ignored {'the filter on' if below else 'an upper bound of'} {self._cursor}",
                    filters=not below,
                )

    # Walking, where seeking can't be trusted

    def _walk(self, window: Window) -> Iterator[Batch]:
        bounds = {"gteq": window.start} if self.habits.filters else {}
        walk = self._walked(
            bounds,
            self._steady_sort,
            lambda record: self._wanted(record, window) or (self._undated and _is_undated(record)),
        )
        read_at = EARLIEST
        for batch in walk.batches():
            read_at = batch.read_at
            yield batch
        yield Batch([], read_at, window.end, 0)

    def _walked(
        self,
        bounds: Mapping[str, datetime],
        sort: tuple[str, bool] | None,
        wanted: Callable[[Record], bool],
    ) -> Walk:
        return Walk(
            lambda number, size: self._list.page(bounds, sort, number, size),
            page_size=self._list.page_size,
            wanted=wanted,
            what=self._resource.name,
        )

    def _wanted(self, record: Record, window: Window) -> bool:
        # While seeking, a record without a cursor comes only from a server whose filter lets it pass.
        if record.cursor is None:
            return self._undated or (self.habits.filters and self.habits.sorts)
        return window.holds(record.cursor)

    @property
    def _steady_sort(self) -> tuple[str, bool] | None:
        """A sort under which new records come last, where the list documents one."""
        return ("createdAt", True) if self._resource.has_created_at else None


class _Hop:
    """A page read from an instant on."""

    def __init__(self, start: datetime, page: Page, read_at: datetime) -> None:
        self.start = start
        self.page = page
        self.read_at = read_at

    @property
    def last(self) -> datetime | None:
        """The latest cursor on it."""
        return max((r.cursor for r in self.page.records if r.cursor is not None), default=None)

    @property
    def versions(self) -> frozenset[tuple[str, datetime | None]]:
        """The records on it, each in its version."""
        return frozenset((record.identity, record.cursor) for record in self.page.records)

    @property
    def remaining(self) -> int | None:
        """How many records come after it."""
        return None if self.page.total is None else self.page.total - len(self.page.records)

    def shown_before(self, end: datetime) -> int:
        """How many of its records lie before ``end``."""
        return sum(1 for r in self.page.records if r.cursor is not None and r.cursor < end)


def _is_undated(record: Record) -> bool:
    return record.cursor is None or record.cursor < EARLIEST
