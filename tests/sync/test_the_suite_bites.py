"""The state machine finds what others get wrong: each of these mistakes, planted alone, makes it fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from makini_provider.api import dialects
from makini_provider.api.dialects import ListQuery, Page
from makini_provider.api.resources import Resource
from makini_provider.sync import plan, reading, run
from makini_provider.sync.plan import Horizon
from makini_provider.sync.reading import Reader
from makini_provider.sync.run import StreamSync
from makini_provider.sync.walking import Batch
from makini_provider.sync.windows import Window
from tests.sync import model
from tests.sync.lagging import arrives_behind_the_reader, changed_while_makini_pulls
from tests.sync.machine import scenarios
from tests.sync.test_nothing_is_lost import InMemory

Plant = Callable[[pytest.MonkeyPatch], None]


def page_numbers(patch: pytest.MonkeyPatch) -> None:
    """A plain walk by page numbers, once."""

    def read(self: Reader, window: Window) -> Iterator[Batch]:
        number, more = 1, True
        while more:
            bounds = {"gteq": window.start, "lt": window.end}
            page, read_at = self._list.page(bounds, (self._cursor, True), number, self._list.page_size)
            number, more = number + 1, page.has_more
            yield Batch(page.records, read_at, None if more else window.end)

    patch.setattr(Reader, "read", read)


def no_ties(patch: pytest.MonkeyPatch) -> None:
    """Going on behind a page of equal times as if it were all of them."""

    def block(self: Reader, start: datetime, end: datetime, window: Window) -> Any:
        page, read_at = self._bounded_page(start, end, 1, self._list.page_size)
        yield Batch([r for r in page.records if self._wanted(r, window)], read_at)
        return end

    patch.setattr(Reader, "_block", block)


def coverage_first(patch: pytest.MonkeyPatch) -> None:
    """Noting that a window is done before its records are there."""
    read_window = StreamSync._read_window

    def too_early(
        self: StreamSync, reader: Reader, window: Window, generation: Any, horizon: Horizon
    ) -> None:
        with self._attempts() as attempts:
            self._commit(attempts, generation, horizon, window)
        read_window(self, reader, window, generation, horizon)

    patch.setattr(StreamSync, "_read_window", too_early)


def state_asked_after(patch: pytest.MonkeyPatch) -> None:
    """Asking for the state of Makini's own sync when the pages have been read."""
    commit = StreamSync._commit

    def late(
        self: StreamSync, attempts: Any, generation: Any, horizon: Horizon, *rest: Any, **more: Any
    ) -> None:
        later = plan.look_ahead(
            self._client.integration(), now=horizon.now, known=horizon.upstream_completed_at
        )
        commit(self, attempts, generation, later, *rest, **more)

    patch.setattr(StreamSync, "_commit", late)


def newest_value(patch: pytest.MonkeyPatch) -> None:
    """Taking the newest time seen for how far everything is known."""

    def look_ahead(integration: Any, *, now: datetime, known: datetime | None) -> Horizon:
        return Horizon(now, now, None, "whatever was seen")

    patch.setattr(run, "look_ahead", look_ahead)


def short_page(patch: pytest.MonkeyPatch) -> None:
    """Taking a page that is shorter than asked for as the last."""

    def parse_list(body: bytes, resource: Resource, query: ListQuery) -> Page:
        page = dialects.parse_list(body, resource, query)
        return Page(page.records, None, len(page.records) >= (query.page_size or 100))

    patch.setattr(model, "parse_list", parse_list)


def unproven_filter(patch: pytest.MonkeyPatch) -> None:
    """Believing that the server filters and sorts."""
    patch.setattr(Reader, "_judge", lambda self, hop: None)
    patch.setattr(Reader, "_unshown", lambda self, hop, end: [])


@pytest.mark.parametrize(
    "plant",
    [
        page_numbers,
        no_ties,
        coverage_first,
        short_page,
        unproven_filter,
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_mistake_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant(monkeypatch)
    caplog.set_level(logging.ERROR, reading.__name__)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(
            InMemory,
            settings=scenarios(1500, 0.1),
        )


def test_no_lookback_is_found() -> None:
    with pytest.raises(AssertionError, match="is lost"):
        changed_while_makini_pulls(lookback=timedelta(0))


@pytest.mark.parametrize("plant", [state_asked_after, newest_value])
def test_trust_in_what_has_not_arrived_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="is lost"):
        arrives_behind_the_reader()
