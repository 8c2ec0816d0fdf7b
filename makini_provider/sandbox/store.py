"""The sandbox's server without HTTP: what it holds, how it answers, how it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from threading import RLock
from typing import Any
from urllib.parse import quote

from .behaviour import Behaviour
from .catalogue import LISTS, NESTED, ListEndpoint, Target, find
from .changes import Changes, Numbers, change
from .clock import Clock, iso
from .data import Data, key_of, line_item
from .query import BadQueryError, Filter, Query, instant, page_of, parse
from .table import Record, Table

_ALL_MATERIALS = "eam/work-orders/materials"
_ORDERS, _LINES = "purchase-orders", "purchase-orders.line-items"


class Store:
    """
    Holds and serves the records. Records that it returns are shared: read them, do not change them.

    Every method can be called from any thread.

    :param seed: other seed, other data.
    :param records: about how many work orders there are; other lists in proportion.
    :param days: how far the data goes back.
    :param now: the time on the clock; it runs on from there. The real time when not given.
    :param max_per_page: larger pages are cut to this size silently.
    :param behaviour: oddities, none by default.
    :param clock: a clock that is shared, in place of one that shows ``now``.
    :param company: whose data it is.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        records: int = 1500,
        days: float = 120,
        now: datetime | None = None,
        max_per_page: int = 500,
        behaviour: Behaviour | None = None,
        clock: Clock | None = None,
        company: str = "Northfield Foods",
    ) -> None:
        self.lock = RLock()
        #: Told of what :meth:`change` has changed, and of what happens before a list is read.
        self.on_change: Callable[[Changes], None] = lambda _: None
        self.clock = clock or Clock(now)
        self.max_per_page = max_per_page
        #: What links start with.
        self.base_url = "http://sandbox"
        self.seed = seed
        # The hour began before every change to come, and is the same for two starts in a row.
        began = self.clock.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        self._data = Data(seed=seed, records=records, days=days, now=began)
        self._tables: dict[str, Table] = {}
        self._numbers: dict[str, int] = {}
        self._rng = Random(seed)
        #: How many records were changed so far, came, or were deleted, except by requests that write.
        self.changed = 0
        self.integration: dict[str, Any] = {
            "id": 1,
            "company_name": company,
            "email": "maintenance@example.com",
            "provider": "sandbox",
            "updated_at": iso(began),
            "sync_status": "done",
            "sync_updated_at": iso(began),
        }
        self.behave(behaviour or Behaviour())

    # Behaviour and integration

    @property
    def behaviour(self) -> Behaviour:
        """How the store behaves at present."""
        return self._behaviour

    def behave(self, behaviour: Behaviour) -> None:
        """Behave in another way from now on, by its seed."""
        with self.lock:
            self._behaviour = behaviour
            self._chance = Random(behaviour.seed)
            self._changes_to_come = deque(behaviour.change_sequence)
            self._sync_states = list(behaviour.sync_states)

    def set_integration(self, **fields: Any) -> None:
        """Set fields of the integration, such as ``sync_status``."""
        with self.lock:
            self.integration = self.integration | fields

    def read_integration(self) -> tuple[int, dict[str, Any]]:
        """Answer ``GET /api/integrations/current``."""
        with self.lock:
            if self._behaviour.sync_state_missing:
                return 404, error("NOT_FOUND", "not_found_error", "no integration")
            if self._sync_states:
                state = self._sync_states.pop(0) if len(self._sync_states) > 1 else self._sync_states[0]
                self.set_integration(**({"sync_status": state} if isinstance(state, str) else state))
            return 200, {"data": self.integration}

    # Reading

    def table(self, resource: str) -> Table:
        """Return a list's table; KeyError for a list that there is not."""
        with self.lock:
            resource = _ALL_MATERIALS if resource == NESTED else resource
            if resource not in self._tables:
                endpoint = LISTS[resource]
                lines = endpoint.name == _LINES
                records = self._lines_of_orders(endpoint) if lines else self._data.records(resource).values()
                self._hold(Table(endpoint, records))
            return self._tables[resource]

    def _hold(self, table: Table) -> None:
        resource = table.endpoint.resource
        self._tables[resource] = table
        self._numbers[resource] = max(self._numbers.get(resource, 0), len(table))

    def _lines_of_orders(self, endpoint: ListEndpoint) -> Iterable[Record]:
        for order in self.table(f"{endpoint.domain}/{_ORDERS}").records():
            for line in order.get("lineItems") or ():
                yield line_item(order, line, endpoint)

    def records(self, resource: str) -> list[Record]:
        """Return all records of a list: the truth, whatever the behaviour."""
        with self.lock:
            return self.table(resource).records()

    def get(self, resource: str, key: str) -> Record | None:
        """Return one record."""
        with self.lock:
            return self.table(resource).get(key)

    def query(self, path: str, params: Iterable[tuple[str, str]] = ()) -> tuple[int, dict[str, Any]]:
        """
        Answer a GET of a list or of a single record, as the HTTP server does.

        :param path: ``eam/work-orders`` or ``/api/eam/work-orders``, with a key where one record is meant.
        :param params: names and values of the query string.
        :return: status and body.
        """
        target = find(path)
        if target is None:
            return 404, error("NOT_FOUND", "not_found_error", f"there is no {path}")
        with self.lock:
            if target.key is not None:
                record = self.get(target.endpoint.resource, target.key)
                return (200, {"data": record}) if record else _no_record(target.key)
            if target.parent is not None and target.parent not in self.table("eam/work-orders"):
                return _no_record(target.parent)
            self._go_on(target.endpoint.resource)
            try:
                return 200, self._list(target, list(params))
            except BadQueryError as bad:
                return 400, error(bad.code, "invalid_request_error", str(bad))

    def _go_on(self, resource: str) -> None:
        """Let happen what the behaviour wants to happen between two reads of a list."""
        behaviour = self._behaviour
        self.clock.advance(timedelta(seconds=behaviour.clock_step))
        to_come = self._changes_to_come
        if changes := to_come.popleft() if to_come else behaviour.changes_per_request:
            self._change(Numbers(**changes), [resource], self._chance)

    def _list(self, target: Target, params: list[tuple[str, str]]) -> dict[str, Any]:
        behaviour, endpoint = self._behaviour, target.endpoint
        table = self.table(endpoint.resource)
        query = parse(
            params,
            fields=table.fields,
            per_page_default=25 if endpoint.declares_per_page else 100,
            max_per_page=behaviour.page_size_clamp or self.max_per_page,
            declares_per_page=endpoint.declares_per_page,
        )
        query = self._misunderstood(query)
        if target.parent is not None:
            query = replace(query, filters=(*query.filters, Filter("parentKey", "eq", target.parent)))
        found = table.select(query, self._chance if behaviour.unstable_ties else None)
        path = endpoint.path.replace("{key}", quote(target.parent or "", safe=""))
        answer = page_of(found, query, self.base_url + path, params)
        if behaviour.last_page_zero:
            answer["meta"]["last_page"] = 0
        if behaviour.omit_meta:
            del answer["meta"]
        if behaviour.omit_links:
            del answer["links"]
        return answer

    def _misunderstood(self, query: Query) -> Query:
        """Return the query as a server of this behaviour understands it."""
        behaviour = self._behaviour
        for one in query.filters:
            if one.field in behaviour.reject_filter_fields:
                raise BadQueryError("UNSUPPORTED_FILTER", f"filter[{one.field}] is not supported")
            if behaviour.reject_time_of_day and len(one.text) > 10 and instant(one.text) is not None:
                raise BadQueryError("INVALID_PARAMETER", f"filter[{one.field}]: {one.text} is no date")
        if behaviour.filter_precision != "microsecond":
            cut = tuple(one.truncated(behaviour.filter_precision) for one in query.filters)
            query = replace(query, filters=cut)
        if behaviour.ignore_filters:
            query = replace(query, filters=())
        if behaviour.ignore_sort:
            query = replace(query, sort=())
        return replace(query, page=1) if behaviour.ignore_page else query

    # Changing

    def insert(self, resource: str, record: Mapping[str, Any]) -> Record:
        """
        Add a record. Its key, ``createdAt`` and ``updatedAt`` are made where they are not given.

        :param resource: the list.
        :param record: its fields; those not given are null.
        :return: the record as it stands in the list.
        """
        with self.lock:
            table = self.table(resource)
            now = iso(self.clock.stamp())
            values = dict.fromkeys(table.endpoint.fields) | dict(record)
            if table.identity == "key" and not values["key"]:
                values["key"] = self.new_key(resource)[0]
            for field in ("createdAt", "updatedAt"):
                if field in table.endpoint.fields and not values[field]:
                    values[field] = now
            return self._put(table, Record(values))

    def update(self, resource: str, key: str, **fields: Any) -> Record:
        """Change fields of a record; ``updatedAt`` is now, unless it is given. KeyError for no such key."""
        with self.lock:
            table = self.table(resource)
            record = table.get(key)
            if record is None:
                raise KeyError(key)
            if "updatedAt" in table.endpoint.fields:
                fields = {"updatedAt": iso(self.clock.stamp())} | fields
            return self._put(table, Record(record | fields))

    def delete(self, resource: str, key: str, *, hard: bool = False) -> bool:
        """
        Delete a record: softly, by ``deletedAt``, where the list has it, unless ``hard``.

        :return: whether it was deleted softly.
        """
        with self.lock:
            table = self.table(resource)
            if not hard and "deletedAt" in table.endpoint.fields:
                now = iso(self.clock.stamp())
                self.update(resource, key, deletedAt=now, updatedAt=now)
                return True
            self._remove(table, key)
            return False

    def load(self, resource: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Put other records in the place of a whole list, exactly as they are given."""
        with self.lock:
            endpoint = self.table(resource).endpoint
            self._hold(Table(endpoint, (Record(record) for record in records)))
            if endpoint.name == _ORDERS:
                self._tables.pop(f"{endpoint.domain}/{_LINES}", None)

    def _put(self, table: Table, record: Record) -> Record:
        """Put a record, and keep orders and their lines in agreement."""
        endpoint, domain = table.endpoint, table.endpoint.domain
        before = table.get(record[table.identity])
        table.put(record)
        if endpoint.name == _ORDERS and f"{domain}/{_LINES}" in self._tables:
            lines = self.table(f"{domain}/{_LINES}")
            old, new = _by_key(before), _by_key(record)
            for gone in old.keys() - new.keys():
                lines.remove(gone)
            for one, line in new.items():
                if old.get(one) != line:
                    lines.put(line_item(record, line, lines.endpoint))
        elif endpoint.name == _LINES:
            self._tell_order(domain, record, record)
        return record

    def _remove(self, table: Table, key: str) -> None:
        record, domain = table.get(key), table.endpoint.domain
        table.remove(key)
        if table.endpoint.name == _ORDERS and f"{domain}/{_LINES}" in self._tables:
            for line in _by_key(record):
                self.table(f"{domain}/{_LINES}").remove(line)
        elif table.endpoint.name == _LINES and record:
            self._tell_order(domain, record, None)

    def _tell_order(self, domain: str, line: Record, new: Record | None) -> None:
        """Let a changed line show in its order, which has changed by that."""
        orders = self.table(f"{domain}/{_ORDERS}")
        order = orders.get(line.get("lineRef") or "")
        if order is None:
            return
        lines = _by_key(order)
        if new is None:
            lines.pop(line["key"], None)
        else:
            shape = lines.get(line["key"]) or next(iter(lines.values()), new)
            lines[line["key"]] = {field: new.get(field) for field in shape}
        now = iso(self.clock.stamp())
        orders.put(Record(order | {"lineItems": list(lines.values()), "updatedAt": now}))

    def new_key(self, resource: str) -> tuple[str, int]:
        """Return a key that the list never had, and its number."""
        table = self.table(resource)
        name, resource = table.endpoint.name, table.endpoint.resource
        number = self._numbers[resource]
        while (new := key_of(name, number)) in table:
            number += 1
        self._numbers[resource] = number + 1
        return new, number

    def change(
        self,
        *,
        updates: int = 0,
        inserts: int = 0,
        deletes: int = 0,
        hard_deletes: int = 0,
        imports: int = 0,
        late: int = 0,
        resources: Iterable[str] | None = None,
        seed: int | None = None,
    ) -> Changes:
        """
        Let time go by: records are changed, come and go, and then Makini's own sync is done.

        :param updates: how many records of each list are changed; none where it has only ``createdAt``.
        :param inserts: how many come.
        :param deletes: how many are deleted, softly where the list has ``deletedAt``.
        :param hard_deletes: how many vanish.
        :param imports: how many come with one and the same time.
        :param late: how many are changed or come with a time of the last half hour, as what Makini has
            pulled late.
        :param resources: lists, each changed by exactly these numbers (or all that it has). When not
            given, all lists whose records have times are, small ones by a tenth of their size at most.
        :param seed: of what is chosen; the store's own chance goes on when not given.
        :return: for each list, the keys by kind of change.
        """
        with self.lock:
            rng = self._rng if seed is None else Random(seed)
            numbers = Numbers(updates, inserts, deletes, hard_deletes, imports, late)
            changes = self._change(numbers, resources, rng)
            now = iso(self.clock.stamp())
            self.set_integration(sync_status="done", sync_updated_at=now, updated_at=now)
            return changes

    def _change(self, numbers: Numbers, resources: Iterable[str] | None, rng: Random) -> Changes:
        done = change(self, self._data, numbers, resources, rng)
        self.changed += sum(len(keys) for kinds in done.values() for keys in kinds.values())
        self.on_change(done)
        return done


def error(code: str, kind: str, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "type": kind, "message": message}}


def _no_record(key: str) -> tuple[int, dict[str, Any]]:
    return 404, error("NOT_FOUND", "not_found_error", f"there is no record {key}")


def _by_key(order: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return an order's lines by their keys."""
    return {line["key"]: line for line in (order or {}).get("lineItems") or ()}
