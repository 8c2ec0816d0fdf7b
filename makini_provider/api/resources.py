"""The catalogue: what is known of each list endpoint of the API.

The facts are those of Makini's published OpenAPI files for EAM, ERP and WMS (109 list endpoints that
state their answer). ``reference`` and ``transaction`` are this project's own division: what other records
point to, and what happens in time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Literal

from makini_provider.api.errors import MakiniConfigurationError, UnknownResourceError

Kind = Literal["reference", "transaction"]

CUSTOM_PREFIX = "path:"

_LISTS = {
    "eam": """
        organizations sites locations storerooms accounts teams labors users uom companies vendors customers
        stocks purchase-orders purchase-orders.line-items materials assets assets-downtime asset-templates
        meters meter-readings pm work-orders/custom-fields work-orders/materials work-orders/{key}/materials
        work-orders service-requests documents inventories statuses/work-orders statuses/purchase-orders
        statuses/service-requests statuses/return-orders return-orders
    """,
    "erp": """
        sites organizations locations storerooms accounts teams labors users taxes currencies exchange-rates
        uom companies vendors customers products stocks sales-orders projects invoices receipts
        purchase-orders purchase-orders.line-items bom production-orders receiving rfq purchase-requisitions
        materials inventories statuses/purchase-orders statuses/purchase-requisitions statuses/sales-orders
        statuses/projects statuses/invoices statuses/production-orders statuses/rfq statuses/receiving
        statuses/return-orders statuses/fulfillments stock-transfers return-orders fulfillments
    """,
    "wms": """
        organizations sites locations storerooms accounts teams labors users currencies uom companies vendors
        customers groups products stocks sales-orders purchase-orders purchase-orders.line-items materials
        stock-transfers stock-adjustments shipment-orders inventories statuses/purchase-orders
        statuses/sales-orders statuses/stock-transfers statuses/shipment-orders statuses/return-orders
        statuses/fulfillments return-orders fulfillments
    """,
}

_TRANSACTIONS = frozenset(
    """
    purchase-orders purchase-orders.line-items assets-downtime meter-readings work-orders/materials
    work-orders/{key}/materials work-orders service-requests return-orders exchange-rates sales-orders
    invoices receipts production-orders receiving rfq purchase-requisitions stock-transfers stock-adjustments
    shipment-orders fulfillments
    """.split()
)
_NO_PER_PAGE = frozenset(
    "sites materials work-orders/custom-fields work-orders/materials work-orders/{key}/materials".split()
)
_NO_TIMESTAMPS = frozenset(["uom", "work-orders/custom-fields"])
_CREATED_AT_ONLY = frozenset(["meter-readings", "exchange-rates"])
_NO_CREATED_AT = _NO_TIMESTAMPS | {"purchase-orders"}
_NO_DELETED_AT = (
    _NO_TIMESTAMPS
    | _CREATED_AT_ONLY
    | frozenset(
        """
        purchase-orders purchase-orders.line-items assets-downtime documents inventories return-orders
        receipts bom receiving fulfillments
        """.split()
    )
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One list endpoint.

    :param name: ``domain/name``, such as ``eam/work-orders``
    :param path: path of the list below the base URL
    :param kind: ``reference`` (what others point to) or ``transaction`` (what happens in time)
    :param cursor_field: the field that says when a record was modified last, or ``None``
    :param has_created_at: whether records have ``createdAt``
    :param has_deleted_at: whether records say that they were deleted
    :param declares_per_page: whether the list takes ``per_page``
    :param parent: the resource whose records this list hangs on, where it is nested
    """

    name: str
    path: str
    kind: Kind
    cursor_field: str | None
    has_created_at: bool
    has_deleted_at: bool
    declares_per_page: bool
    parent: str | None = None

    @property
    def domain(self) -> str:
        """``eam``, ``erp``, ``wms``, or ``path`` for a custom one."""
        return "path" if self.name.startswith(CUSTOM_PREFIX) else self.name.split("/", 1)[0]

    @property
    def local_name(self) -> str:
        """The name inside its domain, such as ``work-orders/materials``."""
        if self.name.startswith(CUSTOM_PREFIX):
            return self.path.strip("/")
        return self.name.split("/", 1)[1]


def _resource(domain: str, local: str) -> Resource:
    if local in _NO_TIMESTAMPS:
        cursor_field = None
    else:
        cursor_field = "createdAt" if local in _CREATED_AT_ONLY else "updatedAt"
    return Resource(
        name=f"{domain}/{local}",
        path=f"/api/{domain}/{local}",
        kind="transaction" if local in _TRANSACTIONS else "reference",
        cursor_field=cursor_field,
        has_created_at=local not in _NO_CREATED_AT,
        has_deleted_at=local not in _NO_DELETED_AT,
        declares_per_page=not (local in _NO_PER_PAGE or local.startswith("statuses/")),
        parent=f"{domain}/{local.removesuffix('/{key}/materials')}" if "{key}" in local else None,
    )


@cache
def catalogue() -> dict[str, Resource]:
    """All list endpoints by name."""
    return {
        resource.name: resource
        for domain, names in _LISTS.items()
        for resource in (_resource(domain, local) for local in names.split())
    }


def get_resource(name: str) -> Resource:
    """Look a resource up by its name, or take a custom path that is given on purpose.

    :param name: ``domain/name`` as in the catalogue, or ``path:/api/…`` for a list endpoint that the
        catalogue does not have; nothing is known of such a list, so that it is read as a snapshot
    :raises UnknownResourceError: names the nearest resources
    :raises MakiniConfigurationError: the custom path is not a plain path
    """
    if not isinstance(name, str) or not name.strip():
        raise UnknownResourceError(
            f"resource must be a name such as 'eam/work-orders', not {name!r}.",
            remedy="See the list in docs/resources.md.",
        )
    if name.startswith(CUSTOM_PREFIX):
        return custom_resource(name.removeprefix(CUSTOM_PREFIX))
    try:
        return catalogue()[name]
    except KeyError:
        raise UnknownResourceError(
            f"resource {name!r} is not known.",
            remedy=f"{_suggestion(name)} For a list that the catalogue does not have, write 'path:/api/…'.",
        ) from None


def custom_resource(path: str, *, cursor_field: str | None = None) -> Resource:
    """A list endpoint that the catalogue does not have, by its path below the base URL.

    :param path: such as ``/api/raw/tables/assets/data``; it is appended to the base URL as it is
    :param cursor_field: the field that says when a record was modified last, where it has one
    :raises MakiniConfigurationError: the path could lead somewhere else
    """
    problem = _path_problem(path)
    if problem:
        raise MakiniConfigurationError(
            f"custom path {path!r} {problem}.",
            remedy="Give the plain path of a list below the base URL, such as '/api/raw/tables/x/data'.",
        )
    return Resource(
        name=f"{CUSTOM_PREFIX}{path}",
        path=path,
        kind="reference",
        cursor_field=cursor_field,
        has_created_at=False,
        has_deleted_at=False,
        declares_per_page=True,
    )


def _path_problem(path: str) -> str:
    if not path.startswith("/"):
        return "does not start with '/'"
    if path.endswith("/"):
        return "ends with '/'"
    for forbidden in ("//", "?", "#", "\\", "{"):
        if forbidden in path:
            return f"contains {forbidden!r}"
    if any(segment in (".", "..") for segment in path.split("/")):
        return "contains a '.' or '..' segment"
    if re.search(r"%(2e|2f|5c)", path, re.IGNORECASE):
        return "contains an encoded '.', '/' or '\\'"
    if re.search(r"[\x00-\x20\x7f]", path):
        return "contains white space or a control character"
    return ""


def _suggestion(name: str) -> str:
    known = catalogue()
    local = name.strip().lower().replace("_", "-").rsplit("/", 1)[-1]
    same_name = [candidate for candidate in known if candidate.split("/", 1)[1] == local]
    near = get_close_matches(name.lower().replace("_", "-"), known, n=3, cutoff=0.6)
    names = list(dict.fromkeys([*same_name, *near]))[:4]
    return f"Did you mean {' or '.join(map(repr, names))}?" if names else "See the list in docs/resources.md."
