"""The data is plausible, deterministic, and changes when told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from makini_provider.sandbox import Store
from makini_provider.sandbox.catalogue import LISTS, NESTED
from makini_provider.sandbox.references import target_of

NOW = datetime(2026, 8, 3, 12, 34, 56, tzinfo=UTC)
FLAT = [name for name in LISTS if name != NESTED]


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(records=150, now=NOW)


def references(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each field that points to other records, at any depth, and a key in it."""
    for field, value in record.items():
        if isinstance(value, dict):
            yield from references(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for inner in value:
                yield from references(inner)
        elif field.endswith(("Key", "Keys")) and value:
            yield from ((field, key) for key in (value if isinstance(value, list) else [value]))


@pytest.mark.parametrize("resource", FLAT)
def test_every_list_has_records_with_the_fields_of_the_catalogue(store: Store, resource: str) -> None:
    records = store.records(resource)
    assert records
    assert {tuple(record) for record in records} == {LISTS[resource].fields}


@pytest.mark.parametrize("resource", FLAT)
def test_keys_refer_to_records_of_the_same_domain(store: Store, resource: str) -> None:
    domain, name = resource.split("/", maxsplit=1)
    dangling = []
    for record in store.records(resource):
        for field, key in references(record):
            target = target_of(field)
            if target == "parents":
                target = "work-orders" if name == "work-orders/materials" else name
            if target == "statuses":
                known = [other for other in LISTS if other.startswith(f"{domain}/statuses/")]
                exists = any(key in store.table(other) for other in known)
            elif f"{domain}/{target}" in LISTS:
                exists = key in store.table(f"{domain}/{target}")
            else:
                exists = field == "currencyKey"  # a code, where the domain has no list of currencies
            if not exists:
                dangling.append((record["key"], field, key))
    assert dangling == []


def test_keys_are_unique_within_a_list_and_shared_between_domains(store: Store) -> None:
    for resource in FLAT:
        keys = [record.get("key", record.get("name")) for record in store.records(resource)]
        assert len(keys) == len(set(keys))
    assert store.get("eam/sites", "SITE-000001") != store.get("erp/sites", "SITE-000001")


def test_times_lie_in_the_period_and_in_order(store: Store) -> None:
    earliest = (NOW - timedelta(days=120, hours=1)).isoformat()
    for resource in FLAT:
        for record in store.records(resource):
            created, updated = record.get("createdAt"), record.get("updatedAt")
            for moment in filter(None, (created, updated)):
                assert earliest < moment < NOW.isoformat()
                assert len(moment) == len("2026-08-01T10:15:30.000000Z")
                assert moment.endswith("Z")
            assert not (created and updated) or created <= updated
            assert record.get("deletedAt") in (None, updated)


def test_the_last_ninety_days_and_the_days_before_both_have_work_orders(store: Store) -> None:
    bound = (NOW - timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for op in ("gteq", "lt"):
        assert store.query("eam/work-orders", [(f"filter[updatedAt:{op}]", bound)])[1]["data"]


def test_most_work_is_done_on_working_days(store: Store) -> None:
    days = [
        datetime.fromisoformat(record["createdAt"]).weekday() for record in store.records("eam/work-orders")
    ]
    assert sum(day < 5 for day in days) > 0.8 * len(days)


def test_some_records_are_deleted_softly(store: Store) -> None:
    deleted = [
        record
        for record in store.records("eam/meters") + store.records("eam/work-orders")
        if record["deletedAt"]
    ]
    assert deleted


def test_assets_form_a_tree_without_cycles(store: Store) -> None:
    parents = {record["key"]: record["parentKey"] for record in store.records("eam/assets")}
    for key in parents:
        steps = 0
        while key := parents[key]:
            steps += 1
            assert steps < len(parents)
    assert None in parents.values()


@pytest.mark.parametrize("domain", ["eam", "erp", "wms"])
def test_line_items_agree_with_their_purchase_orders(store: Store, domain: str) -> None:
    listed = {record["key"]: record for record in store.records(f"{domain}/purchase-orders.line-items")}
    nested = [line for order in store.records(f"{domain}/purchase-orders") for line in order["lineItems"]]
    assert sorted(listed) == sorted(line["key"] for line in nested)
    for line in nested:
        shown = listed[line["key"]]
        assert {field: shown[field] for field in line.keys() & shown.keys()} == {
            field: line[field] for field in line.keys() & shown.keys()
        }


def test_amounts_of_lines_add_up(store: Store) -> None:
    for order in store.records("erp/purchase-orders"):
        total = sum(float(line["lineTotalValue"]) for line in order["lineItems"])
        assert total > 0
        assert float(order["totalNetValue"]) == pytest.approx(total, abs=0.01)


def test_a_bulk_import_gave_many_records_one_time(store: Store) -> None:
    times = Counter(record["updatedAt"] for record in store.records("eam/stocks"))
    assert times.most_common(1)[0][1] >= len(store.records("eam/stocks")) // 5


def test_text_is_not_only_ascii(store: Store) -> None:
    assert any(not str(record).isascii() for record in store.records("eam/vendors"))


def test_the_same_seed_gives_the_same_data_whatever_is_read_first() -> None:
    one, two = Store(records=60, now=NOW, seed=9), Store(records=60, now=NOW, seed=9)
    forwards = {name: one.records(name) for name in FLAT}
    backwards = {name: two.records(name) for name in reversed(FLAT)}
    assert forwards == backwards
    assert Store(records=60, now=NOW, seed=10).records("eam/assets") != forwards["eam/assets"]


def test_lists_grow_in_proportion() -> None:
    small, large = Store(records=100), Store(records=1000)
    assert len(large.records("eam/work-orders")) == 1000
    assert len(large.records("eam/meter-readings")) == 10 * len(small.records("eam/meter-readings"))


# Changes


def test_changes_are_counted_dated_and_visible() -> None:
    store = Store(records=100, now=NOW)
    before = {record["key"]: record for record in store.records("eam/work-orders")}
    started = store.clock.now().isoformat()
    done = store.change(
        updates=40, inserts=10, deletes=3, hard_deletes=2, seed=7, resources=["eam/work-orders"]
    )
    kinds = done["eam/work-orders"]
    assert {kind: len(keys) for kind, keys in kinds.items()} == {
        "updated": 40,
        "inserted": 10,
        "deleted": 3,
        "hard_deleted": 2,
    }
    after = {record["key"]: record for record in store.records("eam/work-orders")}
    assert before.keys() - after.keys() == set(kinds["hard_deleted"])
    assert after.keys() - before.keys() == set(kinds["inserted"])
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert changed == {*kinds["updated"], *kinds["deleted"]} - {*kinds["hard_deleted"]}
    times = [after[key]["updatedAt"] for key in changed | set(kinds["inserted"])]
    assert min(times) > started[:26]
    assert len(set(times)) == len(times)
    for key in kinds["inserted"]:
        assert after[key]["createdAt"] == after[key]["updatedAt"]
    for key in kinds["deleted"]:
        assert after[key]["deletedAt"] == after[key]["updatedAt"]


def test_what_was_deleted_does_not_change_any_more() -> None:
    store = Store(records=30, now=NOW)
    store.change(deletes=10, resources=["eam/work-orders"])
    deleted = [record for record in store.records("eam/work-orders") if record["deletedAt"]]
    store.change(updates=30, resources=["eam/work-orders"])
    assert [record for record in store.records("eam/work-orders") if record["deletedAt"]] == deleted


def test_changes_leave_other_lists_alone_and_follow_their_seed() -> None:
    def play(seed: int) -> Any:
        return Store(records=100, now=NOW).change(updates=5, inserts=1, seed=seed, resources=["eam/assets"])

    assert list(play(1)) == ["eam/assets"]
    assert play(1) == play(1) != play(2)


def test_by_default_every_list_with_times_changes_a_little() -> None:
    store = Store(records=100, now=NOW)
    done = store.change(updates=40, inserts=10, deletes=3)
    timed = {name for name in FLAT if {"createdAt", "updatedAt"} & set(LISTS[name].fields)}
    assert set(done) == timed
    assert len(done["eam/work-orders"]["updated"]) == 10
    assert done["erp/currencies"]["inserted"] == []
    assert done["eam/meter-readings"]["updated"] == []
    assert len(done["eam/meter-readings"]["inserted"]) == 10


def test_after_changes_the_sync_is_done_and_later_than_they() -> None:
    store = Store(records=50, now=NOW)
    store.set_integration(sync_status="inprogress")
    [key] = store.change(updates=1, resources=["eam/work-orders"])["eam/work-orders"]["updated"]
    record = store.get("eam/work-orders", key)
    assert record is not None
    assert store.integration["sync_status"] == "done"
    assert store.integration["sync_updated_at"] > record["updatedAt"]


@pytest.mark.parametrize("resource", ["erp/purchase-orders", "erp/purchase-orders.line-items"])
def test_orders_and_line_items_agree_after_changes_too(resource: str) -> None:
    store = Store(records=60, now=NOW)
    store.records("erp/purchase-orders.line-items")
    store.change(updates=5, inserts=3, deletes=3, resources=[resource])
    listed = {record["key"]: record["quantity"] for record in store.records("erp/purchase-orders.line-items")}
    nested = {
        line["key"]: line["quantity"]
        for order in store.records("erp/purchase-orders")
        for line in order["lineItems"]
    }
    assert listed == nested


def test_a_changed_line_item_changes_its_order_too() -> None:
    store = Store(records=60, now=NOW)
    line = store.records("erp/purchase-orders.line-items")[0]
    before = store.get("erp/purchase-orders", line["lineRef"])
    store.update("erp/purchase-orders.line-items", line["key"], notes="late")
    after = store.get("erp/purchase-orders", line["lineRef"])
    assert before is not None
    assert after is not None
    assert after["updatedAt"] > before["updatedAt"]
    assert [inner["notes"] for inner in after["lineItems"] if inner["key"] == line["key"]] == ["late"]


def test_an_import_has_one_time() -> None:
    store = Store(records=50, now=NOW)
    keys = store.change(imports=20, resources=["eam/work-orders"])["eam/work-orders"]["inserted"]
    imported = [store.get("eam/work-orders", key) or {} for key in keys]
    assert len({(one["createdAt"], one["updatedAt"]) for one in imported}) == 1
    assert len(imported) == 20


def test_what_is_late_is_dated_within_the_last_half_hour_and_never_goes_back() -> None:
    store = Store(records=50, now=NOW)
    before = {record["key"]: record["updatedAt"] for record in store.records("eam/work-orders")}
    done = store.change(late=40, seed=3, resources=["eam/work-orders"])["eam/work-orders"]
    assert done["updated"]
    assert done["inserted"]
    now = store.clock.now()
    for key in done["updated"] + done["inserted"]:
        record = store.get("eam/work-orders", key) or {}
        dated = datetime.fromisoformat(record["updatedAt"])
        assert now - timedelta(minutes=31) < dated <= now
        assert record["updatedAt"] > before.get(key, "")
    late = [store.get("eam/work-orders", key) or {} for key in done["inserted"]]
    assert min(datetime.fromisoformat(one["updatedAt"]) for one in late) < now - timedelta(minutes=5)


def test_deleting_is_soft_where_the_list_can_and_hard_elsewhere() -> None:
    store = Store(records=60, now=NOW)
    assert store.delete("eam/work-orders", "WO-000001") is True
    assert store.delete("eam/documents", "DOCUM-000001") is False
    assert store.get("eam/work-orders", "WO-000001") is not None
    assert store.get("eam/documents", "DOCUM-000001") is None


def test_a_key_is_never_used_twice() -> None:
    store = Store(records=10, now=NOW)
    store.delete("eam/work-orders", "WO-000010", hard=True)
    first = store.insert("eam/work-orders", {})["key"]
    store.delete("eam/work-orders", first, hard=True)
    second = store.insert("eam/work-orders", {})["key"]
    assert (first, second) == ("WO-000011", "WO-000012")


def test_stamps_increase_while_the_clock_stands() -> None:
    store = Store(records=5, now=NOW)
    store.clock.set(NOW + timedelta(days=1))
    times = [store.update("eam/work-orders", "WO-000001")["updatedAt"] for _ in range(3)]
    assert times == [f"2026-08-04T12:34:56.00000{digit}Z" for digit in range(3)]
    store.clock.advance(timedelta(hours=1))
    assert store.update("eam/work-orders", "WO-000001")["updatedAt"].startswith("2026-08-04T13:34:56")


def test_wrong_numbers_and_unknown_lists_are_refused() -> None:
    store = Store(records=5, now=NOW)
    with pytest.raises(ValueError, match="updates"):
        store.change(updates=-1)
    with pytest.raises(ValueError, match="eam/nothing"):
        store.change(updates=1, resources=["eam/nothing"])
