"""Whatever a server's habits, and whatever changes between two requests: what is said to be complete is."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from makini_provider.api.resources import get_resource
from makini_provider.sync.reading import Reader
from makini_provider.sync.windows import EARLIEST, Window
from tests.sync.machine import scenarios, seeds
from tests.sync.model import DAY, MICROSECOND, SECOND, Habits, ModelClient, ModelSource, cut, written

WORK_ORDERS = get_resource("eam/work-orders")
MOST_REQUESTS = 4000

mostly = st.sampled_from([True, True, True, True, True, True, False])
precisions = st.sampled_from([MICROSECOND, MICROSECOND, SECOND, DAY])
servers = st.builds(
    Habits,
    most_per_page=st.sampled_from([1000, 1000, 1000, 30, 3, 2]),
    precision=precisions,
    sort_precision=precisions,
    unstable=st.booleans(),
    filters=mostly,
    upper_bounds=mostly,
    sorts=mostly,
    descends=mostly,
    natural=st.sampled_from(["key", "cursor", "newest", "none"]),
)


@given(
    seed=seeds,
    habits=servers,
    page_size=st.one_of(st.integers(1, 6), st.integers(25, 40)),
    records=st.integers(1, 130),
    spread=st.sampled_from([timedelta(milliseconds=20), SECOND, 30 * SECOND, DAY / 4, 2 * DAY, 20 * DAY]),
    grain=st.sampled_from([MICROSECOND, MICROSECOND, timedelta(milliseconds=100), SECOND, DAY]),
    start=st.one_of(st.none(), st.floats(0, 1)),
    end=st.one_of(st.none(), st.floats(0, 1)),
    moments=st.lists(st.integers(1, 14), max_size=3),
)
@settings(scenarios(400, 0.5), phases=[Phase.generate, Phase.shrink])
def test_what_is_said_to_be_complete_is(
    seed: int,
    habits: Habits,
    page_size: int,
    records: int,
    spread: timedelta,
    grain: timedelta,
    start: float | None,
    end: float | None,
    moments: list[int],
) -> None:
    """
    :param grain: to which the times of the records go
    :param start: of the window, as a part of the spread; ``None``: before everything
    :param end: likewise; ``None``: now
    :param moments: the numbers of requests just before which the source changes
    """
    source = ModelSource(Random(seed), habits=habits)
    began = source.now - spread
    for _ in range(records):
        source.insert(cut(began + spread * source.random.random(), grain))
    source.tick()
    begin = EARLIEST if start is None else began + spread * start
    finish = source.now if end is None else began + spread * end
    assume(begin < finish)
    window = Window(begin, finish)
    delivered: set[tuple[str, str]] = set()

    def change(number: int) -> None:
        assert number < MOST_REQUESTS, "it never ends"
        for _ in range(moments.count(number)):
            source.mutate()

    complete_before = window.start
    for batch in Reader(ModelClient(source, page_size=page_size, before_request=change), WORK_ORDERS).read(
        window
    ):
        delivered |= {(r.identity, written(r.cursor)) for r in batch.records if r.cursor is not None}
        complete_before = max(complete_before, batch.complete_before or complete_before)
        assert _dated(source, window.start, min(complete_before, window.end)) <= delivered
    assert complete_before >= window.end


def _dated(source: ModelSource, start: datetime, end: datetime) -> set[tuple[str, str]]:
    """The records from one instant to another, each in its version."""
    return {
        (key, row["updatedAt"])
        for key, row in source.records.items()
        if start <= datetime.fromisoformat(row["updatedAt"]) < end
    }
