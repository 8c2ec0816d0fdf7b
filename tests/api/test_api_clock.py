"""The server's clock: a lower bound of its time, from the Date headers of its answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from makini_provider.api import clock as clock_module
from makini_provider.api.clock import ServerClock, parse_http_date

SERVER_START = datetime(2020, 1, 1, 10, 0, 0, 900_000, tzinfo=UTC)


class World:
    """True time that passes on both machines; the server cuts it to the second."""

    def __init__(self) -> None:
        self.passed = 0.0

    def pass_(self, seconds: float) -> None:
        self.passed += seconds

    @property
    def truth(self) -> datetime:
        return SERVER_START + timedelta(seconds=self.passed)

    @property
    def date(self) -> str:
        return format_datetime(self.truth.replace(microsecond=0), usegmt=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(monotonic=lambda: 5000.0 + world.passed))
    return world


def test_before_the_first_answer_it_is_this_machines_clock() -> None:
    before = datetime.now(UTC)
    assert before <= ServerClock().now() <= datetime.now(UTC)


def test_it_tells_the_servers_time_cut_to_the_second_and_goes_on_from_there(world: World) -> None:
    clock = ServerClock()
    clock.observe(world.date)
    assert clock.now() == SERVER_START.replace(microsecond=0)
    world.pass_(2.5)
    assert clock.now() == SERVER_START.replace(microsecond=0) + timedelta(seconds=2.5)


def test_a_later_header_brings_it_nearer_to_the_truth(world: World) -> None:
    clock = ServerClock()
    clock.observe(world.date)
    world.pass_(0.1)  # the server's second has just changed
    clock.observe(world.date)
    assert world.truth - clock.now() < timedelta(seconds=0.001)


def test_an_answer_that_was_long_on_its_way_does_not_set_it_back(world: World) -> None:
    clock = ServerClock()
    clock.observe(world.date)
    old = world.date
    world.pass_(30)
    before = clock.now()
    clock.observe(old)
    assert clock.now() == before


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), min_size=1, max_size=20))
def test_it_is_never_later_than_the_truth_and_never_goes_back(steps: list[tuple[float, float]]) -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock_module, "time", SimpleNamespace(monotonic=lambda: 5000.0 + world.passed))
        clock = ServerClock()
        told = None
        for wait, on_its_way in steps:
            world.pass_(wait)
            date = world.date
            world.pass_(on_its_way)
            clock.observe(date)
            now = clock.now()
            assert now <= world.truth + timedelta(microseconds=2)  # what floats round
            assert told is None or now >= told - timedelta(microseconds=2)
            told = now


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "yesterday",
        "2026-01-15T10:00:00Z",
        "Mon, 99 Jan 2024 00:00:00 GMT",
        "Mon, 99999999999999999999 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_a_header_that_tells_no_time_is_passed_over(world: World, header: str | None) -> None:
    clock = ServerClock()
    clock.observe(world.date)
    clock.observe(header)
    world.pass_(60)
    assert clock.now() == SERVER_START.replace(microsecond=0) + timedelta(seconds=60)


def test_a_date_without_a_zone_is_utc(world: World) -> None:
    clock = ServerClock()
    clock.observe("Wed, 01 Jan 2020 10:00:00")
    assert clock.now() == datetime(2020, 1, 1, 10, tzinfo=UTC)


@given(st.text())
@example("Fri, 31 Dec 9998 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_after_any_header_it_still_tells_a_time(header: str) -> None:
    clock = ServerClock()
    clock.observe(header)
    assert clock.now().tzinfo is UTC
    clock.skew()


def test_the_skew_is_how_far_the_server_is_ahead() -> None:
    clock = ServerClock()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    clock.observe(format_datetime(ahead, usegmt=True))
    assert 3598 < clock.skew() <= 3600


@pytest.mark.parametrize(
    "text", ["Thu, 15 Jan 2026 12:00:30 GMT", "Thursday, 15-Jan-26 12:00:30 GMT", "Thu Jan 15 12:00:30 2026"]
)
def test_the_three_spellings_of_an_http_date_are_read(text: str) -> None:
    assert parse_http_date(text) == datetime(2026, 1, 15, 12, 0, 30, tzinfo=UTC)
