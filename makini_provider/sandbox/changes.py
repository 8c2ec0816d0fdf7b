"""What happens in the connected system while nobody looks: records are changed, come and go."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from .catalogue import LISTS, NESTED
from .clock import iso
from .data import Data, known
from .query import instant
from .table import Record, Table

if TYPE_CHECKING:
    from .store import Store

#: For each list, the keys by kind of change: ``updated``, ``inserted``, ``deleted``, ``hard_deleted``.
Changes = dict[str, dict[str, list[str]]]

# What an update touches, where a record has it. Amounts of orders are left alone: they add up.
_TOUCHED = {
    "statusKey", "notes", "note", "lastReading", "receivedQuantity", "actualTime", "laborAssignedKey",
    "dueAt", "shippingMethod", "criticality", "isActive", "description", "position", "unitCost",
    "reorderPoint",
}  # fmt: skip


#: How old a change may be that shows late, because Makini had not pulled it before.
LATEST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Numbers:
    """
    How many records of a list change, by kind of change.

    :param updates: are changed now.
    :param inserts: come now, one after the other.
    :param deletes: are deleted, softly where the list has ``deletedAt``.
    :param hard_deletes: vanish.
    :param imports: come with one and the same time, as from a bulk import.
    :param late: are changed or come with a time that has passed already, by up to ``LATEST``.
    """

    updates: int = 0
    inserts: int = 0
    deletes: int = 0
    hard_deletes: int = 0
    imports: int = 0
    late: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a number from 0 on, not {value!r}")


def change(
    store: Store, data: Data, numbers: Numbers, resources: Iterable[str] | None, rng: Random
) -> Changes:
    """
    Change lists.

    :param store: holds them.
    :param data: makes what is new.
    :param numbers: how much.
    :param resources: the lists; when not given all that have times, each by a tenth at most.
    :param rng: chooses.
    """
    names = list(resources) if resources is not None else [name for name in LISTS if _has_times(name)]
    if unknown := [name for name in names if name not in LISTS]:
        raise ValueError(f"there is no list {', '.join(unknown)}")
    done: Changes = {}
    for name in names:
        table = store.table(name)
        wanted = numbers if resources is not None else _fewer(numbers, table)
        updated = _some(table, wanted.updates if _can_change(table) else 0, rng)
        for key in updated:
            _update(store, data, table, key, rng)
        deleted = _some(table, wanted.deletes, rng)
        for key in deleted:
            store.delete(name, key)
        hard_deleted = _some(table, wanted.hard_deletes, rng)
        for key in hard_deleted:
            store.delete(name, key, hard=True)
        inserted = [_insert(store, data, table, rng) for _ in range(wanted.inserts)]
        imported_at = store.clock.stamp() if wanted.imports else None
        inserted += [_insert(store, data, table, rng, imported_at) for _ in range(wanted.imports)]
        for _ in range(wanted.late):
            at = store.clock.now() - LATEST * rng.random()
            late = _some(table, 1, rng) if _can_change(table) and rng.random() < 0.5 else []
            if late:
                _update(store, data, table, late[0], rng, at)
                updated += late
            else:
                inserted.append(_insert(store, data, table, rng, at))
        done[name] = {
            "updated": updated,
            "inserted": [key for key in inserted if key],
            "deleted": deleted,
            "hard_deleted": hard_deleted,
        }
    return done


def _fewer(numbers: Numbers, table: Table) -> Numbers:
    """Return what befits a list that was not asked for by name: nobody invents ten currencies a day."""
    tenth = math.ceil(len(table) / 10)
    fixed = bool(known(table.endpoint.name))
    updates = min(numbers.updates, tenth)
    others = ("inserts", "deletes", "hard_deletes", "imports", "late")
    return Numbers(updates, **{kind: 0 if fixed else min(getattr(numbers, kind), tenth) for kind in others})


def _has_times(resource: str) -> bool:
    return resource != NESTED and bool({"createdAt", "updatedAt"} & set(LISTS[resource].fields))


def _can_change(table: Table) -> bool:
    """Readings and rates are facts of a moment: they have no `updatedAt`, and do not change."""
    fields = table.endpoint.fields
    return "updatedAt" in fields or "createdAt" not in fields


def _some(table: Table, count: int, rng: Random) -> list[str]:
    """Choose keys of records that are not deleted."""
    if not count:
        return []
    living = [record[table.identity] for record in table.records() if not record.get("deletedAt")]
    return rng.sample(living, min(count, len(living)))


def _update(
    store: Store, data: Data, table: Table, key: str, rng: Random, at: datetime | None = None
) -> None:
    endpoint, now = table.endpoint, store.clock.now()
    names = set(endpoint.fields)
    fields = sorted(_TOUCHED & names) or sorted(
        names - {table.identity, "createdAt", "updatedAt", "deletedAt"}
    )
    maker = data.maker(endpoint, key, rng.randrange(len(table)), now, now, rng)
    values = {field: maker.value(field) for field in rng.sample(fields, min(2, len(fields)))}
    if at is not None:
        before = instant(str((table.get(key) or Record()).get("updatedAt")))
        if before is not None and before < (instant(iso(at)) or 0):
            values["updatedAt"] = iso(at)  # a record's time never goes back
    store.update(endpoint.resource, key, **values)


def _insert(store: Store, data: Data, table: Table, rng: Random, at: datetime | None = None) -> str | None:
    resource = table.endpoint.resource
    if table.endpoint.name == "purchase-orders.line-items":
        orders = store.table(f"{table.endpoint.domain}/purchase-orders").records()
        if not orders:
            return None
        order = rng.choice(orders)
        number = len(order.get("lineItems") or ())
        while (key := f"{order['key']}-{number + 1}") in table:
            number += 1
    else:
        key, number = store.new_key(resource)
    created = at or store.clock.stamp()
    record = data.record(table.endpoint, key, number, created, created, rng)
    store.insert(resource, record | {table.identity: key})
    return key
