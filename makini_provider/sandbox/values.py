"""One record's values, made up field by field: what a field holds follows from its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache, cached_property
from random import Random
from typing import Any, TypeVar

from . import shapes, words
from .clock import iso
from .references import OFTEN, target_of

# Lists that are trees: how many children a record has.
_CHILDREN = {"assets": 5, "locations": 4, "groups": 3}
_SINGLE_TEXT = {("meters", "assetKeys"), ("labors", "organizationKeys")}
_LISTS_OF_KEYS = {"siteKeys", "locationKeys", "parentKeys", "assetKeys", "entityKeys", "taxKeys"}


_T = TypeVar("_T")


class Maker:
    """
    Makes the values of one record.

    :param rng: the record's own chance.
    :param keys: gives the keys of a list of the same domain; none where the domain has no such list.
    :param name: the record's list.
    :param number: the record's place in it, from 0.
    :param key: the record's key.
    :param created: when it came to be.
    :param updated: when it was changed last.
    """

    def __init__(
        self,
        rng: Random,
        keys: Callable[[str], Sequence[str]],
        *,
        name: str,
        number: int,
        key: str,
        created: datetime,
        updated: datetime,
    ) -> None:
        self.rng = rng
        self.keys = keys
        self.name = name
        self.number = number
        self.key = key
        self.created = created
        self.updated = updated
        self.over = rng.random() < 0.6
        #: The list of the record that this one stands in.
        self.owner = name

    @cached_property
    def equipment(self) -> tuple[str, str, str]:
        """What the record is about: name, category, job."""
        return self.pick(words.EQUIPMENT)

    @cached_property
    def part(self) -> tuple[str, str]:
        """The part that the record is about: name, category."""
        return self.pick(words.PARTS)

    @cached_property
    def first(self) -> str:
        """A person's first name."""
        return self.pick(words.FIRST_NAMES)

    @cached_property
    def last(self) -> str:
        """A person's last name."""
        return self.pick(words.LAST_NAMES)

    @property
    def town(self) -> tuple[str, str, str, str, str, str]:
        """Where the record is."""
        return words.TOWNS[self.number % len(words.TOWNS)]

    def value(self, field: str) -> Any:
        """Return a value for a field; KeyError for one whose name says nothing to us."""
        return _way_to_make(self.name, field)(self)

    def record(self, fields: str, number: int = 0) -> dict[str, Any]:
        """Return a nested object, the ``number``-th of its kind."""
        inner = Maker(
            self.rng,
            self.keys,
            name="nested",
            number=number,
            key=f"{self.key}-{number + 1}",
            created=self.created,
            updated=self.updated,
        )
        inner.owner, inner.over, inner.equipment = self.name, self.over, self.equipment
        return {field: inner.value(field) for field in _split(fields)}

    def several(self, fields: str, least: int, most: int) -> list[dict[str, Any]]:
        """Return some nested objects."""
        return [self.record(fields, number) for number in range(self.between(least, most))]

    def pick(self, values: Sequence[_T]) -> _T:
        """Choose one of some values; several times as fast as `Random.choice`."""
        return values[int(self.rng.random() * len(values))]

    def between(self, least: int, most: int) -> int:
        """Choose a whole number between two, both included."""
        return least + int(self.rng.random() * (most - least + 1))

    def reference(self, field: str) -> str | None:
        """Return the key of a record that the field points to."""
        if self.rng.random() > OFTEN.get(field, 1.0):
            return None
        keys = self._pool(field)
        return self.pick(keys) if keys else None

    def references(self, field: str) -> list[str]:
        """Return some keys of records that the field points to."""
        keys = self._pool(field)
        return sorted(self.rng.sample(keys, min(len(keys), self.between(1, 2))))

    def _pool(self, field: str) -> Sequence[str]:
        target = target_of(field)
        if target == "statuses":
            return self._statuses()
        if target == "parents":
            return self.keys(self.name)[: self.number]
        return self.keys(target)

    def _statuses(self) -> Sequence[str]:
        kind = {"pm": "work-orders", "work-orders/materials": "work-orders"}.get(self.owner, self.owner)
        keys = self.keys(f"statuses/{kind}") or self.keys("statuses/purchase-orders")
        return keys[words.OPEN_STATUSES :] if self.over else keys[: words.OPEN_STATUSES]

    def parent(self) -> str | None:
        """Return the record's parent in its own list, if it has one."""
        if self.name == "work-orders/materials":
            return self.pick(self.keys("work-orders"))
        keys = self.keys(self.name)
        if children := _CHILDREN.get(self.name):
            roots = children
            return keys[(self.number - roots) // children] if self.number >= roots else None
        seldom = (
            self.number and not self.name.startswith(("statuses/", "storerooms")) and self.rng.random() < 0.1
        )
        return keys[self.rng.randrange(min(self.number, len(keys)))] if seldom and keys else None

    def after(self, least_days: float, most_days: float) -> str:
        """Return a time so many days after the record's creation."""
        return iso(self.created + timedelta(days=self.rng.uniform(least_days, most_days)))

    def until_now(self) -> str:
        """Return a time between the record's creation and its last change."""
        return iso(self.created + (self.updated - self.created) * self.rng.random())

    def amount(self, most: float) -> str:
        """Return an amount of money as text: small ones are frequent."""
        return f"{most * self.rng.random() ** 3 + 1:.2f}"

    def digits(self, count: int) -> str:
        """Return so many digits."""
        return str(self.rng.randrange(10 ** (count - 1), 10**count))

    def person(self) -> str:
        """Return the name of a person."""
        return f"{self.first} {self.last}"

    def company(self) -> str:
        """Return the name of a company; names do not repeat soon."""
        name = words.COMPANIES[self.number % len(words.COMPANIES)]
        again = self.number // len(words.COMPANIES)
        return f"{name} {again + 1}" if again else name

    def code(self) -> str:
        """Return the number by which people call the record."""
        return f"{self.key.rsplit('-', 1)[0]}{self.number + 10001}"

    def job(self) -> str:
        """Return what a work order is about."""
        return f"{self.equipment[2]}: {self.equipment[0].lower()} {self.number % 40 + 1:02d}"

    def vocabulary(self, names: Sequence[str]) -> str:
        """Return one of the names, in turn; the second time round with a number."""
        again = self.number // len(names)
        return names[self.number % len(names)] + (f" {again + 1}" if again else "")


@cache
def _split(fields: str) -> tuple[str, ...]:
    return tuple(fields.split())


def _maybe(share: float, make: Callable[[Maker], Any]) -> Callable[[Maker], Any]:
    return lambda m: make(m) if m.rng.random() < share else None


def _choice(values: Sequence[Any]) -> Callable[[Maker], Any]:
    return lambda m: m.pick(values)


def _hours(m: Maker) -> str:
    return f"{m.between(1, 32) / 4:g}"


def _currency(m: Maker) -> str | None:
    # Where a domain has no list of currencies, their codes stand for themselves.
    return m.pick(m.keys("currencies") or [code for code, _, _ in words.CURRENCIES])


_BY_FIELD: dict[str, Callable[[Maker], Any]] = {
    "key": lambda m: m.key,
    "createdAt": lambda m: iso(m.created),
    "updatedAt": lambda m: iso(m.updated),
    "deletedAt": lambda _: None,
    "parentKey": Maker.parent,
    "currencyKey": _currency,
    "customerKey": lambda m: m.reference("customerKey"),
    # Names and text
    "name": lambda m: m.part[0],
    "code": Maker.code,
    "title": Maker.job,
    "description": lambda m: f"{m.equipment[0]}: {m.part[0]}",
    "notes": _maybe(0.4, _choice(words.REMARKS)),
    "note": _maybe(0.4, _choice(words.REMARKS)),
    "instructions": _choice(words.INSTRUCTIONS),
    "completionRemarks": lambda m: m.pick(words.REMARKS) if m.over else None,
    "reason": _choice(words.REASONS),
    "contactPerson": Maker.person,
    "firstName": lambda m: m.first,
    "middleName": lambda _: None,
    "lastName": lambda m: m.last,
    "roleName": _choice(words.ROLES),
    "position": _choice(words.ROLES),
    "categoryName": lambda m: m.equipment[1],
    "categoryCode": lambda m: m.equipment[1][:4].upper(),
    "makeName": _choice(words.MAKERS),
    "manufacturerName": _choice(words.MAKERS),
    "modelName": lambda m: f"{m.equipment[0][:2].upper()}-{m.digits(3)}",
    "serialNumber": lambda m: f"SN{m.digits(8)}",
    "partNumber": lambda m: f"{m.part[1][:3].upper()}-{m.digits(5)}",
    "makePartNumber": lambda m: m.digits(7),
    "sku": lambda m: f"SKU-{m.digits(6)}",
    "upc": lambda m: m.digits(12),
    "ean": lambda m: m.digits(13),
    "isbn": lambda _: None,
    "drawingNo": lambda m: f"DWG-{m.digits(5)}",
    "drawingPos": lambda m: str(m.number + 1),
    "referenceNo": lambda m: f"REF-{m.digits(4)}",
    "referencePos": lambda m: str(m.number + 1),
    "properties": lambda _: None,
    "subCode": lambda _: None,
    "scope": lambda m: m.name.removeprefix("statuses/"),
    "type": _choice(("Standard", "Stock", "Service")),
    "contentType": lambda _: "application/pdf",
    "url": lambda m: f"https://files.example.com/{m.key}.pdf",
    "status": lambda m: m.pick(("COMP", "CLOSE") if m.over else ("APPR", "WMATL", "INPRG")),
    "severity": _choice(("low", "medium", "high")),
    "priority": _choice(("1", "2", "3")),
    "criticality": _choice(("A", "B", "C")),
    "carrierName": _choice(words.CARRIERS),
    "shippingMethod": _choice(words.SHIPPING),
    "terms": _choice(words.TERMS),
    "currency": _choice([code for code, _, _ in words.CURRENCIES]),
    "uomName": _choice(("Hour", "Bar", "Degree Celsius")),
    "lat": lambda m: m.town[4],
    "lng": lambda m: m.town[5],
    # Numbers of papers
    "orderNo": Maker.code,
    "orderNumber": Maker.code,
    "shipmentNumber": lambda m: f"SHP{m.digits(7)}",
    "invoiceNumber": lambda m: f"INV{m.digits(7)}",
    "adjustmentNumber": lambda m: f"ADJ{m.digits(6)}",
    "lineNo": lambda m: str((m.number + 1) * 10),
    "lineRef": lambda m: m.key.rsplit("-", 1)[0],
    # Yes and no
    "isActive": lambda m: m.rng.random() < 0.95,
    "isBase": lambda _: "false",
    "isDefault": lambda m: m.number == 0,
    "isPhysical": lambda _: True,
    "isAssembly": lambda m: m.rng.random() < 0.15,
    "isTaxable": lambda m: m.rng.random() < 0.9,
    "requiresMaterials": lambda m: m.rng.random() < 0.5,
    "shipmentRequired": _choice(("true", "false")),
    "recurring": _choice(("true", "false")),
    # Amounts
    "quantity": lambda m: str(m.between(1, 40)),
    "quantityRequired": lambda m: str(m.between(1, 40)),
    "receivedQuantity": lambda m: str(m.between(0, 10)) if m.over else "0",
    "minimumQuantity": lambda m: str(m.between(1, 5)),
    "minQuantity": lambda m: str(m.number * 10 + 1),
    "maxQuantity": lambda m: str(m.number * 10 + 10),
    "uomQuantity": lambda _: "1",
    "reorderPoint": lambda m: str(m.between(2, 10)),
    "reorderLevel": lambda m: str(m.between(2, 10)),
    "reorderQuantity": lambda m: m.between(5, 50),
    "minLevel": lambda m: m.between(1, 5),
    "maxLevel": lambda m: m.between(50, 200),
    "materialCount": lambda m: str(m.between(0, 5)),
    "price": lambda m: m.amount(900),
    "cost": lambda m: m.amount(600),
    "unitCost": lambda m: m.between(1, 600),
    "discount": _choice(("0.00", "0.00", "0.00", "5.00")),
    "rate": lambda m: m.amount(80),
    "budget": lambda m: m.amount(400_000),
    "total": lambda m: m.between(-20, 20),
    "currencyRate": lambda _: "1",
    "taxPercentage": lambda _: "0.00",
    "lineTaxValue": lambda _: "0.00",
    "lineTotalValue": lambda _: "0.00",
    "totalNetValue": lambda _: "0.00",
    "totalTaxValue": lambda _: "0.00",
    "totalGrossValue": lambda _: "0.00",
    "estimatedTime": _hours,
    "actualTime": lambda m: _hours(m) if m.over else None,
    "registeredTime": lambda m: _hours(m) if m.over else None,
    "reading": lambda m: f"{m.rng.gauss(4000, 900):.1f}",
    "lastReading": lambda m: round(m.rng.gauss(4000, 900), 1),
    "interval": _choice(("7", "30", "90", "250")),
    "condition": lambda _: None,
    "dimensions": lambda _: [],
    # Times
    "orderDate": lambda m: iso(m.created),
    "date": lambda m: iso(m.created),
    "invoiceDate": lambda m: iso(m.created),
    "dueDate": lambda m: m.after(14, 60),
    "dueAt": lambda m: m.after(2, 30),
    "scheduledAt": lambda m: m.after(0, 10),
    "approvedAt": _maybe(0.8, Maker.until_now),
    "completedAt": lambda m: iso(m.updated) if m.over else None,
    "receivedDate": lambda m: iso(m.updated) if m.over else None,
    "startedAt": Maker.until_now,
    "endedAt": lambda m: iso(m.updated),
    "finishedAt": lambda m: iso(m.updated) if m.over else None,
    "shipmentDate": lambda m: m.after(1, 14),
    "deliveryAt": lambda m: m.after(3, 21),
    "lastReadingAt": lambda m: iso(m.updated),
    "activatedAt": lambda m: m.after(-2000, -10),
    "deactivatedAt": lambda _: None,
    "expiresAt": _maybe(0.2, lambda m: m.after(300, 900)),
    # Addresses and people
    "country": lambda m: m.town[2],
    "state": lambda m: m.town[1],
    "city": lambda m: m.town[0],
    "postCode": lambda m: m.town[3],
    "addressLines": lambda m: [f"{m.pick(words.STREETS)} {m.between(1, 240)}"],
    "addressee": Maker.person,
    "phone": lambda m: f"+1 555 {m.digits(7)}",
    "phones": lambda m: [f"+1 555 {m.digits(7)}"],
    "email": lambda m: f"{m.key.lower()}@example.com",
    "emails": lambda m: [f"{m.key.lower()}@example.com"],
    "contact": lambda m: m.record(shapes.CONTACT),
    "contacts": lambda m: m.several(shapes.CONTACT, 1, 2),
    "address": lambda m: m.record(shapes.ADDRESS),
    "addresses": lambda m: m.several(shapes.ADDRESS, 1, 2),
    "billingAddress": lambda m: m.record(shapes.ADDRESS),
    "shipmentAddress": lambda m: m.record(shapes.ADDRESS),
    "shippingAddress": lambda m: m.record(shapes.ADDRESS),
    "deliveryAddress": lambda m: m.record(shapes.ADDRESS),
    "destinationAddress": lambda m: [m.record(shapes.ADDRESS)],
    # Objects inside of records
    "documents": lambda m: m.several(shapes.DOCUMENT, 0, 1),
    "tasks": lambda m: m.several(shapes.STEP, 1, 4),
    "checkList": lambda m: m.rng.sample(words.CHECKS, m.between(0, 2)),
    "resources": lambda m: m.several(shapes.EFFORT, 0, 3),
    "triggers": lambda m: m.several(shapes.TRIGGER, 1, 2),
    "lineItems": lambda m: m.several(shapes.LINES.get(m.name, shapes.LINE), 1, 5),
    "lines": lambda m: m.several(shapes.SALES_LINE, 1, 4),
    "supplyOptions": lambda m: m.several(shapes.SUPPLY, 0, 2),
    "priceLevels": lambda m: m.several(shapes.PRICE, 0, 2),
    "inventory": lambda m: m.record(shapes.INVENTORY),
    "drawings": lambda m: m.several(shapes.DRAWING, 0, 1),
}


def _email(m: Maker) -> str:
    return f"{m.key.lower()}@example.com"


def _address_line(m: Maker) -> str:
    return f"{words.STREETS[m.number % len(words.STREETS)]} {m.number + 1}, {m.town[0]}"


_BY_LIST: dict[tuple[str, str], Callable[[Maker], Any]] = {
    ("nested", "title"): lambda m: words.STEPS[m.number % len(words.STEPS)],
    ("nested", "code"): lambda m: f"{m.part[1][:3].upper()}-{m.digits(4)}",
    ("nested", "parentKey"): lambda _: None,
    ("organizations", "name"): lambda m: m.vocabulary(words.ORGANIZATIONS),
    ("sites", "name"): lambda m: f"{m.vocabulary([town[0] for town in words.TOWNS])} plant",
    ("sites", "customerKey"): lambda _: None,
    ("locations", "name"): lambda m: m.vocabulary(words.AREAS),
    ("locations", "contact"): _email,
    ("storerooms", "name"): lambda m: m.vocabulary(words.STORES),
    ("accounts", "name"): lambda m: m.vocabulary(words.ACCOUNTS),
    ("accounts", "code"): lambda m: f"{6000 + m.number * 10}-{m.number % 7 + 1:02d}",
    ("teams", "name"): lambda m: m.vocabulary(words.TEAMS),
    ("labors", "name"): Maker.person,
    ("users", "name"): Maker.person,
    ("users", "isActive"): lambda _: "true",
    ("companies", "name"): Maker.company,
    ("vendors", "name"): Maker.company,
    ("customers", "name"): Maker.company,
    ("customers", "addresses"): _address_line,
    ("customers", "billingAddress"): _address_line,
    ("stocks", "quantity"): lambda m: m.between(0, 200),
    ("stocks", "position"): lambda m: f"{m.pick('ABCDEF')}-{m.between(1, 30):02d}-{m.between(1, 6)}",
    ("inventories", "quantity"): lambda m: m.between(0, 500),
    ("products", "quantity"): lambda m: m.between(0, 500),
    ("products", "status"): lambda _: "active",
    ("materials", "categoryName"): lambda m: m.part[1],
    ("materials", "parentKeys"): lambda m: m.references("parentKeys") if m.rng.random() < 0.1 else [],
    ("assets", "name"): lambda m: f"{m.equipment[0]} {m.number + 1:03d}",
    ("assets", "customerKey"): lambda _: None,
    ("asset-templates", "name"): lambda m: m.vocabulary([name for name, _, _ in words.EQUIPMENT]),
    ("documents", "name"): lambda m: f"Manual {m.equipment[0].lower()}.pdf",
    ("bom", "name"): lambda m: f"{m.equipment[0]} assembly {m.number + 1}",
    ("groups", "name"): lambda m: m.vocabulary(words.GROUPS),
    ("projects", "name"): lambda m: m.vocabulary(words.PROJECTS),
    ("rfq", "shippingAddress"): lambda m: [m.record(shapes.ADDRESS)],
    ("fulfillments", "lineItems"): lambda m: f"{m.between(1, 9)} x {m.part[0]}",
    ("exchange-rates", "baseCurrencyKey"): lambda m: m.keys("currencies")[0],
    ("exchange-rates", "rate"): lambda m: f"{m.rng.uniform(0.9, 1.3):.4f}",
}


@cache
def _way_to_make(name: str, field: str) -> Callable[[Maker], Any]:
    if make := _BY_LIST.get((name, field)) or _BY_FIELD.get(field):
        return make
    several = field in _LISTS_OF_KEYS and (name, field) not in _SINGLE_TEXT
    if field.endswith("Keys") and several:
        return lambda m: m.references(field)
    if field.endswith(("Key", "Keys")):
        return lambda m: m.reference(field)
    raise KeyError(f"{name}: nothing is known of the field {field!r}")
