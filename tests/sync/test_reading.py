"""Reading a window: what it costs on quiet data, and what it makes of a server's habits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from makini_provider.api.dialects import ListQuery, Page
from makini_provider.api.errors import AnswerTooLargeError, MakiniPagingError, UnstableReadError
from makini_provider.api.resources import Resource, get_resource
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.reading import Reader
from makini_provider.sync.run import StreamSync
from makini_provider.sync.walking import Walk
from makini_provider.sync.windows import EARLIEST, Window
from tests.sync.large import NOW, LargeList
from tests.sync.machine import STREAM
from tests.sync.memory import MemoryDestination
from tests.sync.model import DAY, SECOND, Habits, ModelClient, ModelSource

WORK_ORDERS = get_resource("eam/work-orders")
PROJECT = Path(__file__).parents[2]

_SEE_MANY = """
import resource, sys
from makini_provider.api.records import Record
from makini_provider.sync.seen import SeenRecords
with SeenRecords() as seen:
    for number in range(int(sys.argv[1])):
        seen.see(Record(f"a key of usual length {number}", None, b"{}"), 1)
    assert seen.count(since_pass=1) == int(sys.argv[1])
    seen.content(since_pass=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def source_of(
    records: int, habits: Habits | None = None, spread: timedelta = timedelta(days=90)
) -> ModelSource:
    source = ModelSource(Random(3), habits=habits or Habits())
    for number in range(records):
        source.insert(source.now - spread * (number + 1) / records)
    source.tick()
    return source


def keys(source: ModelSource, client: ModelClient, window: Window | None = None) -> set[str]:
    window = window or Window(EARLIEST, source.now)
    batches = list(Reader(client, WORK_ORDERS).read(window))
    assert batches[-1].complete_before == window.end
    return {record.identity for batch in batches for record in batch.records}


def test_quiet_data_costs_hardly_more_requests_than_a_plain_walk() -> None:
    source = source_of(10_000)
    client = ModelClient(source, page_size=100)
    assert keys(source, client) == set(source.records)
    assert client.requests_sent <= 1.3 * 100


def test_a_whole_initial_sync_of_twenty_pages_needs_at_most_1_3_times_the_requests() -> None:
    client = ModelClient(source_of(2_000), page_size=100)
    StreamSync(client, MemoryDestination(), STREAM, run_id="1").initial(history=None)
    assert client.requests_sent <= 1.3 * 20


def test_an_incremental_sync_that_finds_nothing_needs_at_most_three_requests() -> None:
    source = source_of(50)
    destination = MemoryDestination()
    StreamSync(ModelClient(source), destination, STREAM, run_id="1").initial(history=None)
    source.now += timedelta(hours=3)
    client = ModelClient(source)
    StreamSync(client, destination, STREAM, run_id="2").incremental(
        RunInterval(), lookback=timedelta(hours=1)
    )
    assert client.requests_sent <= 3


def test_a_list_of_one_page_needs_one_request() -> None:
    source = source_of(80)
    client = ModelClient(source, page_size=100)
    keys(source, client)
    assert client.requests_sent == 1


@pytest.mark.parametrize("unstable", [False, True])
def test_a_block_of_equal_times_wider_than_many_pages_is_complete(unstable: bool) -> None:
    source = source_of(100, Habits(unstable=unstable))
    source.import_many(600)
    source.insert()
    source.tick()
    assert keys(source, ModelClient(source, page_size=50)) == set(source.records)


def test_fifty_thousand_records_of_one_instant_are_complete_whatever_their_order() -> None:
    client = LargeList(50_000, spread=timedelta(0), shuffled=True)
    found: set[str] = set()
    for batch in Reader(client, WORK_ORDERS).read(Window(EARLIEST, NOW + timedelta(seconds=5))):
        found.update(record.identity for record in batch.records)
    assert found == {f"K{number}" for number in range(50_000)}


def test_the_keys_of_a_walk_are_on_disk_and_not_in_memory() -> None:
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", _SEE_MANY, str(count)], cwd=PROJECT))
        for count in (20_000, 400_000)
    ]
    assert peaks[1] - peaks[0] < 10_000, "kB more for twenty times the records"


@pytest.mark.parametrize(
    "habits",
    [
        Habits(most_per_page=7),
        Habits(precision=SECOND),
        Habits(precision=DAY),
        Habits(precision=DAY, plain_dates=True),
        Habits(sort_precision=SECOND, unstable=True),
        Habits(filters=False),
        Habits(sorts=False, natural="newest"),
        Habits(filters=False, sorts=False, natural="cursor"),
        Habits(totals=False),
    ],
    ids=str,
)
def test_whatever_a_servers_habits_everything_is_read(habits: Habits) -> None:
    source = source_of(200, habits, spread=timedelta(days=3))
    window = Window(source.now - timedelta(days=2), source.now - timedelta(hours=1))
    wanted = {
        key for key, row in source.records.items() if window.holds(datetime.fromisoformat(row["updatedAt"]))
    }
    assert keys(source, ModelClient(source, page_size=20), window) == wanted


def test_a_sort_that_goes_only_to_the_second_is_used_all_the_same() -> None:
    source = source_of(200, Habits(sort_precision=SECOND))
    for _ in range(60):
        source.insert(source.tick())
    reader = Reader(ModelClient(source, page_size=50), WORK_ORDERS)
    list(reader.read(Window(EARLIEST, source.now)))
    assert reader.habits.sorts
    assert reader.habits.precision == SECOND


def test_a_server_that_ignores_the_filter_is_told_in_the_log() -> None:
    source = source_of(100, Habits(filters=False))
    reader = Reader(ModelClient(source, page_size=20), WORK_ORDERS)
    list(reader.read(Window(source.now - timedelta(days=2), source.now)))
    assert "ignored the filter on updatedAt" in reader.habits.notes[0]


@pytest.mark.parametrize(
    ("habits", "told"),
    [
        (Habits(precision=SECOND), "only to the second"),
        (Habits(precision=DAY), "only to the day"),
        (Habits(precision=DAY, plain_dates=True), "only to the day"),
        (Habits(sort_precision=SECOND), "only to the second"),
    ],
    ids=str,
)
def test_a_server_that_goes_by_coarser_times_is_told_in_the_log(habits: Habits, told: str) -> None:
    source = source_of(200, habits, spread=timedelta(minutes=1))
    reader = Reader(ModelClient(source, page_size=20), WORK_ORDERS)
    reader.examine()
    list(reader.read(Window(source.now - timedelta(days=2), source.now)))
    assert f"eam/work-orders: updatedAt goes {told} on this server." in reader.habits.notes


@pytest.mark.parametrize(
    ("habits", "filters", "sorts"),
    [
        (Habits(), True, True),
        (Habits(filters=False), False, False),
        (Habits(sorts=False), True, False),
        (Habits(sorts=False, natural="cursor"), True, False),
        (Habits(filters=False, sorts=False, natural="cursor"), False, False),
    ],
    ids=str,
)
def test_an_examination_tells_what_the_server_honours(habits: Habits, filters: bool, sorts: bool) -> None:
    reader = Reader(ModelClient(source_of(60, habits), page_size=5), WORK_ORDERS)
    reader.examine()
    assert (reader.habits.filters, reader.habits.sorts) == (filters, sorts)


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_record_that_moves_on_does_not_make_up_for_one_that_was_never_shown(moment: int) -> None:
    source = ModelSource(Random(1), habits=Habits(sorts=False, plain_dates=True, precision=DAY))
    for key, day in {"A": 1, "B": 5, "C": 5, "D": 3, "E": 5}.items():
        source.write(key, datetime(2026, 7, day, 8, tzinfo=UTC))

    def move_on(number: int) -> None:
        if number == moment:
            source.write("A", datetime(2026, 7, 5, 9, tzinfo=UTC))

    assert keys(source, ModelClient(source, page_size=3, before_request=move_on)) == set("ABCDE")


@pytest.mark.parametrize("moment", range(1, 10))
@pytest.mark.parametrize("precision", [SECOND, DAY], ids=["second", "day"])
def test_a_new_record_does_not_make_up_for_one_out_of_order_within_a_second_or_a_day(
    precision: timedelta, moment: int
) -> None:
    source = ModelSource(Random(1), habits=Habits(sort_precision=precision))
    midnight = datetime(2026, 7, 5, tzinfo=UTC)
    for key, after in {"A": -9, "B": 0.5, "C": 0.3, "D": 2, "E": 4, "F": 6}.items():
        source.write(key, midnight + precision * after)

    def add(number: int) -> None:
        if number == moment:
            source.insert()

    assert keys(source, ModelClient(source, page_size=2, before_request=add)) >= set("ABCDEF")


def test_two_records_in_order_do_not_prove_a_sort_within_the_day() -> None:
    source = ModelSource(Random(1), habits=Habits(sort_precision=DAY))
    for key, hour in {"A": 21, "B": 23, "C": 16, "D": 48, "E": 96}.items():
        source.write(key, datetime(2026, 7, 5, tzinfo=UTC) + timedelta(hours=hour))
    client = ModelClient(source, page_size=2, before_request=lambda number: number == 3 and source.insert())
    assert keys(source, client) >= set("ABCDE")


def test_bounds_that_go_only_to_the_day_are_recognised_where_no_total_is_told() -> None:
    source = source_of(30, Habits(precision=DAY, totals=False), spread=timedelta(milliseconds=500))
    window = Window(source.now - timedelta(milliseconds=300), source.now - timedelta(milliseconds=100))
    wanted = {
        key for key, row in source.records.items() if window.holds(datetime.fromisoformat(row["updatedAt"]))
    }
    assert wanted <= keys(source, ModelClient(source, page_size=4), window)


def test_a_day_is_complete_though_its_records_are_updated_all_the_time() -> None:
    source = source_of(200, Habits(precision=DAY), spread=timedelta(hours=6))
    client = ModelClient(source, page_size=20, before_request=lambda number: source.update())
    before = dict(source.records)
    found = keys(source, client)
    assert {key for key, row in source.records.items() if row == before[key]} <= found
    assert client.requests_sent < 50


def test_records_without_a_time_are_found_by_counting() -> None:
    source = source_of(30)
    source.write("UNDATED", None)
    source.write("ANCIENT", datetime(1, 1, 1, tzinfo=UTC))
    reader = Reader(ModelClient(source, page_size=10), WORK_ORDERS, undated=True)
    found = {record.identity for batch in reader.records_without_cursor() for record in batch.records}
    assert found == {"UNDATED", "ANCIENT"}


class _HugeRecords(ModelClient):
    """Answers with more than five records are too large."""

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        page, read_at = super().list_page(resource, query)
        if len(page.records) > 5:
            raise AnswerTooLargeError("too large")
        return page, read_at


@pytest.mark.parametrize("habits", [Habits(), Habits(sorts=False)], ids=["seeking", "walking"])
def test_answers_that_are_too_large_are_asked_for_in_smaller_pages(habits: Habits) -> None:
    source = source_of(60, habits)
    assert keys(source, _HugeRecords(source, page_size=40)) == set(source.records)


def _walk(source: ModelSource, before_request: Callable[[int], object] = lambda number: None) -> Walk:
    client = ModelClient(source, before_request=before_request)
    return Walk(
        lambda number, size: client.list_page(WORK_ORDERS, ListQuery(page=number, page_size=size)),
        page_size=10,
        wanted=lambda record: True,
        what="work orders",
    )


def test_a_walk_over_one_page_asks_once() -> None:
    source = source_of(5)
    batches = list(_walk(source).batches())
    assert [len(batch.records) for batch in batches] == [5]


def test_a_record_that_slips_between_two_pages_is_seen_in_the_next_pass() -> None:
    source = source_of(40)
    walk = _walk(source)
    seen: set[str] = set()
    for number, batch in enumerate(walk.batches(), 1):
        seen |= {record.identity for record in batch.records}
        if number == 1:
            first = min(source.records)
            del source.records[first]
    assert set(source.records) <= seen


@pytest.mark.parametrize("moment", range(1, 9))
def test_a_new_record_that_makes_up_for_a_deleted_one_does_not_keep_a_walk_from_its_end(moment: int) -> None:
    source = source_of(40)
    before = set(source.records)

    def replace_one(number: int) -> None:
        if number == moment:
            del source.records[min(source.records)]
            source.insert()

    walk = _walk(source, before_request=replace_one)
    seen = {record.identity for batch in walk.batches() for record in batch.records}
    assert before & set(source.records) <= seen


def test_a_list_that_never_comes_to_rest_is_no_success() -> None:
    source = source_of(40)
    batches = _walk(source, before_request=lambda number: (source.hard_delete(), source.insert())).batches()
    with pytest.raises(UnstableReadError, match="changed during each"):
        list(batches)


def test_a_list_in_disorder_is_complete_also_where_no_total_is_told() -> None:
    for seed in range(100):
        source = source_of(40, Habits(unstable=True, natural="none", totals=False))
        source.random = Random(seed)
        seen = {record.identity for batch in _walk(source).batches() for record in batch.records}
        assert seen == set(source.records), f"seed {seed}"


def test_a_list_whose_keys_come_twice_is_refused_with_the_reason() -> None:
    source = source_of(40)
    source.records["the same again"] = dict(source.records[min(source.records)])
    with pytest.raises(MakiniPagingError, match="shows 41 records, but only 40 different ones"):
        list(_walk(source).batches())


def test_a_server_that_ignores_the_page_is_refused() -> None:
    source = source_of(400)

    def first_page_always(number: int, size: int) -> tuple[Page, datetime]:
        return ModelClient(source).list_page(WORK_ORDERS, ListQuery(page=1, page_size=size))

    walk = Walk(first_page_always, page_size=10, wanted=lambda record: True, what="work orders")
    with pytest.raises(MakiniPagingError, match="does not go by page numbers"):
        list(walk.batches())


def test_the_content_of_a_snapshot_is_the_same_whatever_the_order() -> None:
    source = source_of(40)
    one = _walk(source)
    list(one.batches())
    source.records = dict(reversed(source.records.items()))
    source.habits.natural = "newest"
    other = _walk(source)
    list(other.batches())
    assert one.content == other.content
