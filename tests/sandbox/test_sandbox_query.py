"""The query engine: filters, sorting, pages. Without HTTP."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any

import pytest

from makini_provider.sandbox import Behaviour, Store

ORDERS = "eam/work-orders"


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(records=120)


def loaded(*values: Any, field: str = "updatedAt", behaviour: Behaviour | None = None) -> Store:
    """Return a store whose work orders have these values in one field."""
    store = Store(records=0, behaviour=behaviour)
    store.load(ORDERS, [{"key": str(number), field: value} for number, value in enumerate(values)])
    return store


def keys(store: Store, *params: tuple[str, str]) -> list[str]:
    status, body = store.query(ORDERS, [("per_page", "500"), *params])
    assert status == 200, body
    return [record["key"] for record in body["data"]]


def code(store: Store, *params: tuple[str, str]) -> str:
    status, body = store.query(ORDERS, params)
    assert status == 400, body
    return str(body["error"]["code"])


def test_pages_are_disjoint_and_hold_everything(store: Store) -> None:
    seen = []
    for page in range(1, 6):
        body = store.query(ORDERS, [("page", str(page)), ("per_page", "25")])[1]
        seen += [record["key"] for record in body["data"]]
    assert body["meta"]["last_page"] == 5
    assert seen == [record["key"] for record in store.records(ORDERS)]


def test_meta_and_links_are_those_of_laravel(store: Store) -> None:
    body = store.query(ORDERS, [("sort[createdAt]", "0"), ("page", "2"), ("per_page", "50")])[1]
    path = "http://sandbox/api/eam/work-orders"
    prefix = f"{path}?sort%5BcreatedAt%5D=0&per_page=50&page="
    assert list(body) == ["data", "links", "meta"]
    assert body["links"] == {
        "first": f"{prefix}1",
        "last": f"{prefix}3",
        "prev": f"{prefix}1",
        "next": f"{prefix}3",
    }
    assert body["meta"] == {
        "current_page": 2,
        "from": 51,
        "last_page": 3,
        "path": path,
        "per_page": 50,
        "to": 100,
        "total": 120,
    }


def test_an_empty_list_has_one_page_and_null_bounds() -> None:
    meta = loaded().query(ORDERS)[1]["meta"]
    assert (meta["last_page"], meta["total"], meta["from"], meta["to"]) == (1, 0, None, None)


def test_a_page_beyond_the_last_is_empty(store: Store) -> None:
    body = store.query(ORDERS, [("page", "99")])[1]
    assert body["data"] == []
    assert body["links"]["next"] is None


def test_per_page_is_clamped_and_meta_tells(store: Store) -> None:
    meta = store.query(ORDERS, [("per_page", "100000")])[1]["meta"]
    assert meta["per_page"] == 500


def test_default_page_size_is_25(store: Store) -> None:
    assert store.query(ORDERS)[1]["meta"]["per_page"] == 25


def test_lists_that_declare_no_per_page_ignore_it(store: Store) -> None:
    assert store.query("eam/materials", [("per_page", "3")])[1]["meta"]["per_page"] == 100


def test_unknown_parameters_are_ignored(store: Store) -> None:
    assert store.query(ORDERS, [("pageSize", "100")])[1]["meta"]["per_page"] == 25


@pytest.mark.parametrize(
    ("op", "expected"),
    [("gt", "2"), ("gteq", "12"), ("lt", "0"), ("lted", "01"), ("lteq", "01")],
)
def test_dates_are_compared_as_moments_and_nulls_never_match(op: str, expected: str) -> None:
    store = loaded("2026-01-01T09:59:59.999999Z", "2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000001Z", None)
    same_moment = "2026-01-01T12:00:00.000000+02:00"
    assert keys(store, (f"filter[updatedAt:{op}]", same_moment)) == list(expected)
    assert keys(store, (f"filter[updatedAt:{op}]", same_moment), ("sort[updatedAt]", "0")) == list(expected)
    assert (
        keys(store, (f"filter[updatedAt:{op}]", same_moment), ("sort[updatedAt]", "1"))
        == list(expected)[::-1]
    )


def test_a_plain_date_is_its_midnight_in_utc() -> None:
    store = loaded("2023-11-06T23:59:59Z", "2023-11-07T00:00:00Z")
    assert keys(store, ("filter[updatedAt:gteq]", "2023-11-07")) == ["1"]
    assert keys(store, ("filter[updatedAt]", "2023-11-07")) == ["1"]


def test_numbers_are_compared_as_numbers_even_when_written_as_text() -> None:
    store = loaded("9.5", 10, "11", field="actualTime")
    assert keys(store, ("filter[actualTime:gt]", "9.75")) == ["1", "2"]
    assert keys(store, ("sort[actualTime]", "1")) == ["2", "1", "0"]


def test_leading_zeros_make_another_code() -> None:
    assert keys(loaded("007", "7", field="code"), ("filter[code]", "7")) == ["1"]


def test_text_is_searched_without_regard_to_case() -> None:
    store = loaded("Öl wechseln", "Change oil", "oil leak", field="title")
    assert keys(store, ("filter[title:contains]", "OIL")) == ["1", "2"]
    assert keys(store, ("filter[title:startsWith]", "öl")) == ["0"]


def test_filters_match_all_or_any() -> None:
    store = loaded("a", "b", "ab", field="title")
    both = [("filter[title:contains]", "a"), ("filter[title:startsWith]", "b")]
    assert keys(store, *both) == []
    assert keys(store, *both, ("filterMatch", "any")) == ["0", "1", "2"]


def test_several_sort_fields_hold_in_the_order_given() -> None:
    store = Store(records=0)
    rows = [("b", "1"), ("a", "1"), ("a", "2"), (None, "3")]
    store.load(ORDERS, [{"key": f"{t}{c}", "title": t, "code": c} for t, c in rows])
    assert keys(store, ("sort[title]", "0"), ("sort[code]", "1")) == ["None3", "a2", "a1", "b1"]
    assert keys(store, ("sort[code]", "1"), ("sort[title]", "0")) == ["None3", "a2", "a1", "b1"]


def test_nulls_come_first_ascending_and_last_descending() -> None:
    store = loaded("2026-01-02", None, "2026-01-01")
    assert keys(store, ("sort[updatedAt]", "0")) == ["1", "2", "0"]
    assert keys(store, ("sort[updatedAt]", "1")) == ["0", "2", "1"]


def test_equal_values_keep_the_order_of_insertion() -> None:
    store = loaded(*["2026-01-01"] * 30)
    expected = [str(number) for number in range(30)]
    assert keys(store, ("sort[updatedAt]", "0")) == expected
    assert keys(store, ("sort[updatedAt]", "1")) == expected


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        (("page", "0"), "INVALID_PARAMETER"),
        (("page", "one"), "INVALID_PARAMETER"),
        (("per_page", "-1"), "INVALID_PARAMETER"),
        (("filter[updatedAt:after]", "2026-01-01"), "INVALID_PARAMETER"),
        (("filterMatch", "some"), "INVALID_PARAMETER"),
        (("sort[updatedAt]", "asc"), "INVALID_PARAMETER"),
        (("filter[nonsense]", "1"), "UNKNOWN_FIELD"),
        (("sort[nonsense]", "1"), "UNKNOWN_FIELD"),
    ],
)
def test_what_makes_no_sense_is_answered_with_400(
    store: Store, param: tuple[str, str], expected: str
) -> None:
    assert code(store, param) == expected


def test_a_field_beyond_the_specification_can_be_filtered() -> None:
    store = loaded("red", "blue", field="customColour")
    assert keys(store, ("filter[customColour]", "blue")) == ["1"]


def test_the_fast_way_and_the_slow_way_find_the_same() -> None:
    chance = random.Random(4)
    times = [None, *(f"2026-01-01T00:00:{second:02d}Z" for second in range(8))]
    store = loaded(*(chance.choice(times) for _ in range(200)))
    for _ in range(300):
        ops = [chance.choice(["eq", "gt", "gteq", "lt", "lted", "lteq"]) for _ in range(chance.randint(1, 3))]
        filters = [(f"filter[updatedAt:{op}]", chance.choice(times[1:]) or "") for op in ops]
        slow = keys(store, *filters, ("sort[key]", "0"))
        assert sorted(keys(store, *filters, ("sort[updatedAt]", "0"))) == sorted(slow)
        fast = keys(store, *filters)
        assert sorted(fast) == sorted(slow)
        assert fast == sorted(fast, key=int)


def test_a_page_deep_in_50_000_equal_times_needs_no_new_sort() -> None:
    store = loaded(*["2026-01-01T00:00:00Z"] * 50_000)
    params = [("filter[updatedAt:gteq]", "2026-01-01"), ("sort[updatedAt]", "0"), ("per_page", "100")]
    keys(store, *params)
    started = time.perf_counter()
    for page in range(100, 120):
        store.query(ORDERS, [*params, ("page", str(page))])
    assert (time.perf_counter() - started) / 20 < 0.005


def test_nested_materials_are_those_of_the_work_order(store: Store) -> None:
    everything = store.records("eam/work-orders/materials")
    order = everything[0]["parentKey"]
    body = store.query(f"eam/work-orders/{order}/materials")[1]
    assert body["data"] == [record for record in everything if record["parentKey"] == order]
    assert body["meta"]["path"].endswith(f"/api/eam/work-orders/{order}/materials")
    assert store.query("eam/work-orders/nobody/materials")[0] == 404


# Behaviour


def test_ignore_page_answers_every_page_with_the_first() -> None:
    store = Store(records=60, behaviour=Behaviour(ignore_page=True))
    body = store.query(ORDERS, [("page", "2")])[1]
    assert body["data"] == store.query(ORDERS)[1]["data"]
    assert body["meta"]["current_page"] == 1


def test_ignore_filters_selects_everything() -> None:
    store = loaded("2026-01-01", "2026-01-02", behaviour=Behaviour(ignore_filters=True))
    assert keys(store, ("filter[updatedAt:gteq]", "2026-01-02")) == ["0", "1"]


def test_ignore_sort_keeps_the_order_of_insertion() -> None:
    store = loaded("2026-01-02", "2026-01-01", behaviour=Behaviour(ignore_sort=True))
    assert keys(store, ("sort[updatedAt]", "0")) == ["0", "1"]


@pytest.mark.parametrize(("precision", "expected"), [("microsecond", ""), ("second", "1"), ("day", "01")])
def test_filter_precision_cuts_the_time_of_a_filter(precision: Any, expected: str) -> None:
    store = loaded(
        "2026-01-01T05:00:00Z", "2026-01-01T10:00:00.2Z", behaviour=Behaviour(filter_precision=precision)
    )
    assert keys(store, ("filter[updatedAt:gteq]", "2026-01-01T10:00:00.5Z")) == list(expected)


def test_rejected_filters_are_answered_with_400() -> None:
    store = loaded(behaviour=Behaviour(reject_filter_fields=("updatedAt",)))
    assert code(store, ("filter[updatedAt:gteq]", "2026-01-01")) == "UNSUPPORTED_FILTER"
    assert keys(store, ("filter[createdAt:gteq]", "2026-01-01")) == []


def test_rejected_times_of_day_still_allow_dates() -> None:
    store = loaded("2026-01-01", behaviour=Behaviour(reject_time_of_day=True))
    assert code(store, ("filter[updatedAt:gteq]", "2026-01-01T00:00:00Z")) == "INVALID_PARAMETER"
    assert keys(store, ("filter[updatedAt:gteq]", "2026-01-01")) == ["0"]


def test_unstable_ties_change_from_request_to_request_but_not_from_seed_to_seed() -> None:
    def twice() -> list[list[str]]:
        store = loaded(*["2026-01-01"] * 30, "2026-01-02", behaviour=Behaviour(unstable_ties=True, seed=3))
        return [keys(store, ("sort[updatedAt]", "0")) for _ in range(2)]

    first, second = twice()
    assert first != second
    assert first[-1] == second[-1] == "30"
    assert twice() == [first, second]


def test_changes_per_request_come_before_each_list_is_read() -> None:
    changes = {"updates": 2, "inserts": 1, "hard_deletes": 1}

    def play() -> tuple[list[str], list[str]]:
        store = Store(records=40, behaviour=Behaviour(changes_per_request=changes, seed=5))
        before = store.records(ORDERS)
        sync = store.integration
        first = store.query(ORDERS, [("per_page", "500")])[1]["data"]
        assert store.integration == sync
        assert len(first) == len(before)
        assert sum(record not in before for record in first) == 3
        return [record["key"] for record in first], keys(store)

    assert play() == play()


def test_a_sequence_of_changes_comes_before_the_reads_of_a_list_one_by_one() -> None:
    sequence = ({"inserts": 2}, {}, {"imports": 3})
    store = Store(records=40, behaviour=Behaviour(change_sequence=sequence))
    sizes = [store.query(ORDERS)[1]["meta"]["total"] for _ in range(5)]
    assert sizes == [42, 42, 45, 45, 45]
    assert store.changed == 5


def test_the_clock_moves_on_with_each_read_of_a_list() -> None:
    store = Store(records=40, behaviour=Behaviour(clock_step=60))
    before = store.clock.now()
    for _ in range(10):
        store.query(ORDERS)
    assert timedelta(minutes=10) <= store.clock.now() - before < timedelta(minutes=11)


def test_oddities_of_the_envelope() -> None:
    behaviour = Behaviour(omit_links=True, last_page_zero=True, page_size_clamp=10)
    body = Store(records=40, behaviour=behaviour).query(ORDERS, [("per_page", "100")])[1]
    assert list(body) == ["data", "meta"]
    assert (body["meta"]["last_page"], body["meta"]["per_page"], len(body["data"])) == (0, 10, 10)
    assert "meta" not in Store(records=4, behaviour=Behaviour(omit_meta=True)).query(ORDERS)[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"filter_precision": "hour"},
        {"faults": ["418"]},
        {"fault_rate": 0.5},
        {"error_spelling": "loud"},
        {"changes_per_request": {"updatez": 1}},
        {"changes_per_request": {"updates": -1}},
        {"change_sequence": [{}, {"updates": 1.5}]},
        {"no_such_thing": True},
    ],
)
def test_a_behaviour_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs|no such"):
        Behaviour.from_json(wrong)
