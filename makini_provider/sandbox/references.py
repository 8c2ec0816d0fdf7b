"""To which list the keys in a field belong."""

from __future__ import annotations

from functools import cache

# A key field's name without `Key` or `Keys` → the list it points to, where that is not the plural.
_POINTS_TO = {
    "currency": "currencies",
    "baseCurrency": "currencies",
    "userManager": "users",
    "userRequested": "users",
    "userApproved": "users",
    "requester": "users",
    "fromLocation": "locations",
    "toLocation": "locations",
    "fromStoreroom": "storerooms",
    "toStoreroom": "storerooms",
    "costUom": "uom",
    "rateBase": "uom",
    "uom": "uom",
    "company": "companies",
    "makeCompany": "companies",
    "assetTemplate": "asset-templates",
    "labor": "labors",
    "laborAssigned": "labors",
    "serviceRequest": "service-requests",
    "pm": "pm",
    "assetDowntime": "assets-downtime",
    "workOrder": "work-orders",
    "po": "purchase-orders",
    "shipmentOrder": "shipment-orders",
    "salesOrder": "sales-orders",
    "stockTransfer": "stock-transfers",
    "tax": "taxes",
    "entity": "assets",
}
#: How often a key that need not be there is there.
OFTEN = {
    "pmKey": 0.4,
    "serviceRequestKey": 0.2,
    "assetDowntimeKey": 0.1,
    "workOrderKey": 0.5,
    "projectKey": 0.5,
    "stockTransferKey": 0.2,
    "salesOrderKey": 0.6,
    "poLineItemKey": 0.0,
    "poKey": 0.7,
}


@cache
def target_of(field: str) -> str:
    """Return the list to which a field's keys belong."""
    subject = field.removesuffix("s").removesuffix("Key")
    return {"status": "statuses"}.get(subject) or _POINTS_TO.get(subject, f"{subject}s")
