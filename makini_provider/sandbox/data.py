"""
All lists' records, made from a seed.

Keys are given out first, so that any record can point to any other; a list's records are made when the
list is first looked at. Two domains count their keys separately: the same key in both is two things.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from . import words
from .catalogue import LISTS, ListEndpoint
from .table import Record
from .values import Maker

# How many records a list has: a fixed number, and a share of the number of work orders.
_SIZES: dict[str, tuple[int, float]] = {
    "organizations": (2, 0.001),
    "sites": (4, 0.003),
    "locations": (12, 0.06),
    "storerooms": (4, 0.01),
    "accounts": (6, 0.01),
    "teams": (7, 0.002),
    "labors": (10, 0.03),
    "users": (10, 0.02),
    "companies": (10, 0.02),
    "vendors": (10, 0.03),
    "customers": (10, 0.04),
    "asset-templates": (5, 0.01),
    "groups": (7, 0.01),
    "projects": (4, 0.02),
    "assets": (10, 0.3),
    "materials": (10, 0.25),
    "products": (10, 0.2),
    "meters": (6, 0.12),
    "meter-readings": (0, 2),
    "pm": (4, 0.1),
    "documents": (4, 0.15),
    "stocks": (10, 0.4),
    "inventories": (10, 0.3),
    "exchange-rates": (5, 0.1),
    "work-orders": (0, 1),
    "work-orders/materials": (0, 0.6),
    "service-requests": (0, 0.35),
    "assets-downtime": (0, 0.1),
    "purchase-orders": (0, 0.25),
    "return-orders": (0, 0.04),
    "sales-orders": (0, 0.4),
    "invoices": (0, 0.4),
    "receipts": (0, 0.2),
    "receiving": (0, 0.2),
    "bom": (3, 0.05),
    "production-orders": (0, 0.2),
    "rfq": (0, 0.08),
    "purchase-requisitions": (0, 0.15),
    "stock-transfers": (0, 0.15),
    "stock-adjustments": (0, 0.1),
    "shipment-orders": (0, 0.3),
    "fulfillments": (0, 0.3),
}
# Lists that were loaded in one go: a part of their records has one and the same time.
_IMPORTED = {"assets", "materials", "products", "stocks"}
_LINES = "purchase-orders.line-items"


def line_item(order: Record, line: dict[str, Any], endpoint: ListEndpoint) -> Record:
    """Return a purchase order's line as the list of line items shows it."""
    values = line | {"cost": line.get("price"), "lineRef": order["key"]}
    return Record({field: values.get(field) for field in endpoint.fields})


class Data:
    """
    Makes the records.

    :param seed: other seed, other data.
    :param records: about how many work orders there are.
    :param days: how far the records' times go back.
    :param now: the moment after which nothing has happened.
    """

    def __init__(self, *, seed: int, records: int, days: float, now: datetime) -> None:
        self._seed = seed
        self._size = records
        self._start = now - timedelta(days=days)
        self._now = now
        self._keys: dict[str, Sequence[str]] = {}
        self._made: dict[str, dict[str, Record]] = {}

    def keys(self, domain: str, name: str) -> Sequence[str]:
        """Return the keys of a list; none where the domain has no such list."""
        resource = f"{domain}/{name}"
        if resource not in self._keys:
            self._keys[resource] = self._count_out(resource, name)
        return self._keys[resource]

    def _count_out(self, resource: str, name: str) -> Sequence[str]:
        if resource not in LISTS:
            return ()
        if name == _LINES:
            return tuple(self.records(resource))
        if facts := known(name):
            return tuple(facts)
        least, share = _SIZES[name]
        return tuple(key_of(name, number) for number in range(least + int(share * self._size)))

    def records(self, resource: str) -> dict[str, Record]:
        """Return a list's records by key, made at the first call."""
        if resource not in self._made:
            made: dict[str, Record] = {}
            self._make(LISTS[resource], made)
            self._made[resource] = made
        return self._made[resource]

    def _make(self, endpoint: ListEndpoint, made: dict[str, Record]) -> None:
        if endpoint.name == _LINES:
            for order in self.records(f"{endpoint.domain}/purchase-orders").values():
                for line in order["lineItems"]:
                    made[line["key"]] = line_item(order, line, endpoint)
            return
        keys = self.keys(endpoint.domain, endpoint.name)
        rng = Random(f"{self._seed}/{endpoint.resource}")
        times = sorted(business_time(rng, self._start, self._now) for _ in keys)
        imported = times[len(times) // 2] if endpoint.name in _IMPORTED and len(times) >= 50 else None
        if imported:
            times = sorted([imported] * (len(times) // 5) + times[len(times) // 5 :])
        for number, (one, created) in enumerate(zip(keys, times, strict=True)):
            kept = created == imported or rng.random() < 0.3
            updated = created if kept else business_time(rng, created, self._now)
            record = self.record(endpoint, one, number, created, updated, rng, made)
            if "deletedAt" in record and len(keys) > 20 and rng.random() < 0.03:
                record["deletedAt"] = record["updatedAt"]
            made[one] = record

    def record(
        self,
        endpoint: ListEndpoint,
        key: str,
        number: int,
        created: datetime,
        updated: datetime,
        rng: Random,
        siblings: dict[str, Record] | None = None,
    ) -> Record:
        """Make one record; ``siblings`` are those of its list that exist already."""
        maker = self.maker(endpoint, key, number, created, updated, rng)
        facts = known(endpoint.name).get(key, {})
        values = {field: facts[field] if field in facts else maker.value(field) for field in endpoint.fields}
        self._put_in_place(
            endpoint, values, siblings if siblings is not None else self.records(endpoint.resource)
        )
        _add_up(values)
        return Record(values)

    def maker(
        self, endpoint: ListEndpoint, key: str, number: int, created: datetime, updated: datetime, rng: Random
    ) -> Maker:
        """Return what makes the values of one record."""
        return Maker(
            rng,
            partial(self.keys, endpoint.domain),
            name=endpoint.name,
            number=number,
            key=key,
            created=created,
            updated=updated,
        )

    def _put_in_place(
        self, endpoint: ListEndpoint, values: dict[str, Any], siblings: dict[str, Record]
    ) -> None:
        """Let a record stand where the asset or location stands that it is about."""
        domain = endpoint.domain
        if endpoint.name == "meter-readings":
            meter = self.records(f"{domain}/meters").get(values["meterKey"])
            values["assetKey"] = meter["assetKeys"] if meter else values["assetKey"]
        elif endpoint.name in ("assets", "locations") and values["parentKey"]:
            _inherit(values, siblings.get(values["parentKey"]), ("siteKey", "locationKey", "organizationKey"))
        elif values.get("assetKey"):
            asset = self.records(f"{domain}/assets").get(values["assetKey"])
            _inherit(values, asset, ("siteKey", "locationKey", "teamKey"))
        elif values.get("locationKey"):
            _inherit(values, self.records(f"{domain}/locations").get(values["locationKey"]), ("siteKey",))


def key_of(name: str, number: int) -> str:
    """Return the key of a list's ``number``-th record: ``WO-000001``."""
    parts = re.split(r"[-/.]", name)
    prefix = "".join(part[0] for part in parts) if len(parts) > 1 else name.removesuffix("s")[:5]
    return f"{prefix.upper()}-{number + 1:06d}"


def business_time(rng: Random, start: datetime, end: datetime) -> datetime:
    """Return a time between two, mostly of a working day between six and six."""
    span = end - start
    for _ in range(4):
        day = start + span * rng.random()
        hour = min(max(rng.gauss(11.5, 2.8), 0), 23.9)
        seconds = timedelta(seconds=hour * 3600 + rng.random())
        moment = day.replace(hour=0, minute=0, second=0, microsecond=0) + seconds
        if start <= moment <= end and (moment.weekday() < 5 or rng.random() < 0.15):
            return moment
    return start + span * rng.random()


def _inherit(values: dict[str, Any], source: Record | None, fields: Sequence[str]) -> None:
    for field in fields:
        if source and values.get(field) and source.get(field):
            values[field] = source[field]


def _add_up(values: dict[str, Any]) -> None:
    """Make the amounts of the lines, and of the whole, agree."""
    lines = values.get("lineItems") or values.get("lines")
    if not isinstance(lines, list) or "price" not in lines[0]:
        return
    net = tax = 0.0
    for line in lines:
        total = round(
            float(line["price"]) * int(line["quantity"]) * (1 - float(line.get("discount", 0)) / 100), 2
        )
        net, tax = net + total, tax + round(total * 0.19, 2)
        if "lineTotalValue" in line:
            line |= {"lineTotalValue": f"{total:.2f}", "lineTaxValue": f"{total * 0.19:.2f}"}
    totals = {"totalNetValue": net, "totalTaxValue": tax, "totalGrossValue": net + tax}
    values.update({field: f"{total:.2f}" for field, total in totals.items() if field in values})


def known(name: str) -> dict[str, dict[str, Any]]:
    """Return the records of lists whose content is a matter of fact, by key: what is known of each."""
    if name.startswith("statuses/"):
        kind = name.removeprefix("statuses/")
        work = kind in ("work-orders", "service-requests", "projects", "production-orders")
        prefix = key_of(kind, 0).split("-", maxsplit=1)[0]
        return {
            f"{prefix}-{code}": {"name": text, "code": code, "isActive": True, "parentKey": None}
            for code, text in (words.WORK_STATUSES if work else words.PAPER_STATUSES)
        }
    return _FACTS.get(name, {})


_FACTS: dict[str, dict[str, dict[str, Any]]] = {
    "uom": {
        code: {"code": code, "name": name, "rateBaseKey": base, "rate": rate, "isActive": True}
        for code, name, base, rate in words.UNITS
    },
    "currencies": {
        code: {"code": code, "name": name, "isBase": str(code == "EUR").lower(), "isActive": "true"}
        for code, name, _ in words.CURRENCIES
    },
    "taxes": {
        f"TAX-{number}": {"name": name, "taxPercentage": rate, "type": "sales", "isActive": True}
        for number, (name, rate) in enumerate(words.TAXES, start=1)
    },
    "work-orders/custom-fields": {name: {"name": name} for name in words.CUSTOM_FIELDS},
}
