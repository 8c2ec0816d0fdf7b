"""Asking for pages of a list by bounds of its cursor, in times as coarse as the server takes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from makini_provider.api.dialects import ListQuery, Page
from makini_provider.api.errors import AnswerTooLargeError, MakiniStatusError
from makini_provider.api.records import format_instant
from makini_provider.api.resources import Resource
from makini_provider.sync.habits import COARSER, DAY, NotHonouredError, ServerHabits, cut


class ListClient(Protocol):
    """What reading needs of the API."""

    page_size: int

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        """Ask for one page; return it, and when it was asked for by the server's clock."""
        ...


class CursorList:
    """A list as one reader asks for it.

    :param client: the API
    :param resource: the list; it has a cursor field
    :param filters: narrows the list, by ``field`` or ``field:op``
    :param habits: what is known of the server
    """

    def __init__(
        self, client: ListClient, resource: Resource, filters: Mapping[str, str], habits: ServerHabits
    ) -> None:
        if resource.cursor_field is None:
            raise ValueError(f"{resource.name} has no cursor field")
        self.client = client
        self.filters = filters
        self.cursor = resource.cursor_field
        self.page_size = client.page_size
        self.precision = habits.precision
        """What is gone by here. What other readers find out counts when it is adopted: a change in between
        would ask for something else than what is then taken for complete."""

        self._resource = resource
        self._habits = habits

    @property
    def known_precision(self) -> timedelta:
        """The coarsest that was found out, here or by another reader."""
        return max(self.precision, self._habits.precision)

    def adopt_precision(self) -> timedelta:
        """Go by what is known from now on, and return it."""
        self.precision = self.known_precision
        return self.precision

    def go_by(self, precision: timedelta) -> None:
        """Go by a coarser precision from now on, since the server does."""
        self.precision = precision
        self._habits.go_by(precision, f"{self._resource.name}: {self.cursor}")

    def floor(self, instant: datetime) -> datetime:
        """Cut an instant to the precision that is gone by."""
        return cut(instant, self.precision)

    def count(self, bounds: Mapping[str, datetime]) -> int | None:
        """How many records lie within bounds; ``None`` where the server does not tell."""
        return self.page(bounds, None, 1, 1)[0].total

    def first_page(
        self, bounds: Mapping[str, datetime], *, ascending: bool, page_size: int | None = None
    ) -> tuple[Page, datetime]:
        """The first page by the cursor; a smaller one, from now on, where an answer would be too large.

        :param bounds: by operator (``gteq``, ``lt``)
        :param page_size: where it must be this
        """
        while True:
            try:
                return self.page(bounds, (self.cursor, ascending), 1, page_size or self.page_size)
            except AnswerTooLargeError:
                if self.page_size == 1 or page_size is not None:
                    raise
                self.page_size = max(self.page_size // 2, 1)

    def page(
        self, bounds: Mapping[str, datetime], sort: tuple[str, bool] | None, number: int, page_size: int
    ) -> tuple[Page, datetime]:
        """A page; where the server refuses the times as they are written, they are written coarser.

        :param sort: a field, and whether it ascends
        :raises NotHonouredError: the server refuses any bound
        """
        while True:
            written = {f"{self.cursor}:{op}": self._written(value) for op, value in bounds.items()}
            query = ListQuery(
                filters={**self.filters, **written},
                sort=sort[0] if sort else None,
                ascending=sort[1] if sort else True,
                page=number,
                page_size=page_size,
            )
            try:
                return self.client.list_page(self._resource, query)
            except MakiniStatusError as error:
                if error.status not in (400, 422):
                    raise
                coarser = COARSER.get(self.precision)
                if bounds and coarser is not None:
                    self.go_by(coarser)
                elif bounds:
                    raise NotHonouredError(
                        f"the server refused the filter on {self.cursor}", filters=False
                    ) from error
                elif sort is not None:
                    sort = None
                else:
                    raise

    def _written(self, instant: datetime) -> str:
        instant = self.floor(instant)
        return instant.date().isoformat() if self.precision == DAY else format_instant(instant)
