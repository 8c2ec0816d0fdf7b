"""
Which lists the sandbox serves, and which fields their records have.

These are facts of the vendor's published OpenAPI files, written down a second time on purpose: the
rest of the package has its own catalogue, and a mistake in one must be able to fail a test of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

#: The one nested list. It shows a part of the list of all materials of work orders.
NESTED = "eam/work-orders/{key}/materials"
#: Domains in the order in which the lists are named.
DOMAINS = ("eam", "erp", "wms")

_EVERYWHERE = """
    organizations sites locations storerooms accounts teams labors users uom companies vendors customers
    stocks materials purchase-orders purchase-orders.line-items inventories return-orders
    statuses/purchase-orders statuses/return-orders
"""
_NAMES = {
    "eam": """
        assets assets-downtime asset-templates meters meter-readings pm documents
        work-orders work-orders/custom-fields work-orders/materials work-orders/{key}/materials
        service-requests statuses/work-orders statuses/service-requests
    """,
    "erp": """
        taxes currencies exchange-rates products sales-orders projects invoices receipts bom
        production-orders receiving rfq purchase-requisitions stock-transfers fulfillments
        statuses/purchase-requisitions statuses/sales-orders statuses/projects statuses/invoices
        statuses/production-orders statuses/rfq statuses/receiving statuses/fulfillments
    """,
    "wms": """
        currencies groups products sales-orders stock-transfers stock-adjustments shipment-orders
        fulfillments statuses/sales-orders statuses/stock-transfers statuses/shipment-orders
        statuses/fulfillments
    """,
}

_STATUS_FIELDS = "organizationKey parentKey name code subCode scope isActive"

# Besides these, a record has `key` and the times; see below for the lists that lack some.
_FIELDS = {
    "organizations": "currencyKey name code description addresses billingAddress contacts",
    "sites": """
        organizationKey name code description contact customerKey lat lng address billingAddress
        properties notes
    """,
    "locations": """
        siteKey parentKey teamKey organizationKey name userManagerKey description code type address
        isActive contact isDefault
    """,
    "storerooms": """
        parentKey siteKey locationKey userManagerKey code name type description priority
    """,
    "accounts": "code name description activatedAt expiresAt",
    "teams": "accountKey code name description organizationKey",
    "labors": """
        organizationKeys siteKeys locationKeys accountKey vendorKey userKey code teamKey name firstName
        middleName lastName roleName description notes isActive costUomKey currencyKey
    """,
    "users": "organizationKey siteKeys locationKeys name roleName description notes isActive",
    "uom": "name code rateBaseKey rate isActive",
    "companies": "parentKey organizationKey name code addresses billingAddress currencyKey notes",
    "vendors": "name code companyKey organizationKey",
    "customers": "name code organizationKey addresses billingAddress companyKey",
    "stocks": """
        productKey materialKey locationKey storeroomKey assetKey position uomKey quantity reorderPoint
        expiresAt reorderQuantity minLevel maxLevel reorderLevel
    """,
    "purchase-orders": """
        siteKey organizationKey orderDate vendorKey userRequestedKey userApprovedKey orderNo statusKey
        title description dueAt approvedAt completedAt shippingMethod shipmentDate shipmentAddress
        billingAddress terms notes deliveryAddress currencyKey locationKey totalNetValue totalGrossValue
        lineItems
    """,
    "purchase-orders.line-items": """
        locationKey assetKey statusKey materialKey storeroomKey vendorKey productKey price discount
        deliveryAt lineNo code name description lineRef quantity receivedQuantity type uomKey cost
        currencyKey lineTotalValue lineTaxValue notes dueAt
    """,
    "materials": """
        siteKeys parentKeys assetKeys vendorKeys organizationKey documents accountKey categoryName code
        isAssembly partNumber name description notes criticality isActive manufacturerName minimumQuantity
        uomKey cost currency supplyOptions priceLevels inventory drawings dimensions
    """,
    "assets": """
        siteKey parentKey vendorKey teamKey documents locationKey customerKey accountKeys name description
        makeCompanyKey assetTemplateKey isPhysical notes categoryName criticality isActive makeName
        modelName serialNumber activatedAt deactivatedAt
    """,
    "assets-downtime": "assetKey description startedAt endedAt categoryName severity notes",
    "asset-templates": "siteKey documents name manufacturerName",
    "meters": "siteKey assetKeys uomName uomKey lastReading lastReadingAt",
    "meter-readings": "assetKey meterKey reading",
    "pm": """
        assetKeys teamKey siteKey accountKey title description status severity laborAssignedKey
        estimatedTime roleName categoryName documents assetTemplateKeys statusKey notes dueAt categoryCode
        requiresMaterials triggers tasks resources
    """,
    "work-orders/custom-fields": "name",
    "work-orders": """
        parentKey locationKey siteKey assetKey accountKey title serviceRequestKey code pmKey teamKey
        laborAssignedKey userApprovedKey assetDowntimeKey organizationKey instructions status statusKey
        severity estimatedTime roleName categoryName storeroomKey notes approvedAt dueAt scheduledAt
        actualTime completedAt completionRemarks tasks documents resources materialCount
    """,
    "service-requests": """
        siteKey locationKey storeroomKey assetKey workOrderKey teamKey userRequestedKey userApprovedKey
        laborAssignedKey documents title description statusKey severity estimatedTime roleName
        categoryName notes approvedAt dueAt
    """,
    "documents": "entityKeys name url type contentType description notes",
    "inventories": "code name quantity unitCost locationKey",
    "return-orders": """
        organizationKey siteKey vendorKey statusKey code poKey orderNo orderDate type title description
        dueAt approvedAt completedAt shippingMethod terms notes currencyKey totalNetValue totalTaxValue
        totalGrossValue lineItems
    """,
    "taxes": "organizationKey name type taxPercentage isActive",
    "currencies": "name code isBase isActive",
    "exchange-rates": "currencyKey baseCurrencyKey rate",
    "products": """
        groupKey organizationKey uomKey code name description type isTaxable taxKeys status price
        currencyKey quantity sku upc ean isbn partNumber dimensions supplyOptions priceLevels
    """,
    "sales-orders": """
        organizationKey customerKey userKey code orderNumber date statusKey shipmentDate contactPerson
        lines currencyKey currencyRate shipmentOrderKey shipmentAddress billingAddress
    """,
    "projects": "siteKey name accountKey statusKey budget",
    "invoices": """
        title customerKey locationKey invoiceNumber vendorKey poKey statusKey lineItems invoiceDate
        dueDate receivedDate currencyKey totalNetValue totalTaxValue totalGrossValue salesOrderKey
    """,
    "receipts": """
        siteKey vendorKey poKey code orderNo orderDate title description completedAt shippingMethod notes
        currencyKey totalNetValue totalTaxValue totalGrossValue lineItems
    """,
    "bom": "siteKey name projectKey type lineItems",
    "production-orders": """
        siteKey statusKey locationKey orderNo orderDate totalNetValue totalTaxValue totalGrossValue note
        lineItems
    """,
    "receiving": """
        organizationKey siteKey vendorKey poKey code orderNo orderDate title description completedAt
        shippingMethod notes currencyKey totalNetValue totalTaxValue totalGrossValue lineItems
    """,
    "rfq": """
        siteKey vendorKey organizationKey accountKey code statusKey shippingMethod shippingAddress
        lineItems documentKeys totalNetValue totalTaxValue totalGrossValue
    """,
    "purchase-requisitions": """
        siteKey requesterKey accountKey userRequestedKey userApprovedKey code statusKey shippingMethod
        shippingAddress lineItems documentKeys totalNetValue totalTaxValue totalGrossValue
    """,
    "stock-transfers": """
        organizationKey shipmentOrderKey fromLocationKey toLocationKey fromStoreroomKey toStoreroomKey
        statusKey code date lineItems orderNumber shipmentNumber shipmentAddress shipmentRequired
        shippingMethod
    """,
    "fulfillments": """
        organizationKey siteKey vendorKey customerKey salesOrderKey stockTransferKey statusKey code
        orderNo orderDate title description completedAt notes shipmentAddress lineItems
    """,
    "groups": "parentKey code name description",
    "stock-adjustments": """
        locationKey storeroomKey userKey date reason lineItems adjustmentNumber total type
    """,
    "shipment-orders": """
        userKey customerKey vendorKey orderNumber shipmentNumber date statusKey lineItems
        destinationAddress carrierName shippingMethod notes
    """,
}

# The vendor describes the materials of a work order with the fields of a work order.
_FIELDS["work-orders/materials"] = _FIELDS["work-orders/{key}/materials"] = _FIELDS["work-orders"]

_TIMES = ("createdAt", "updatedAt", "deletedAt")
_FEWER_TIMES: dict[str, tuple[str, ...]] = {
    "uom": (),
    "work-orders/custom-fields": (),
    "meter-readings": ("createdAt",),
    "exchange-rates": ("createdAt",),
    "purchase-orders": ("updatedAt",),
    "purchase-orders.line-items": ("createdAt", "updatedAt"),
    "assets-downtime": ("createdAt", "updatedAt"),
    "documents": ("createdAt", "updatedAt"),
    "inventories": ("createdAt", "updatedAt"),
    "return-orders": ("createdAt", "updatedAt"),
    "receipts": ("createdAt", "updatedAt"),
    "bom": ("createdAt", "updatedAt"),
    "receiving": ("createdAt", "updatedAt"),
    "fulfillments": ("createdAt", "updatedAt"),
}

_WITHOUT_PER_PAGE = {
    "sites",
    "materials",
    "work-orders/custom-fields",
    "work-orders/materials",
    "work-orders/{key}/materials",
}
_WITHOUT_SINGLE = _WITHOUT_PER_PAGE - {"sites", "materials"}
_POST_AND_PUT = """
    stocks purchase-orders materials assets work-orders return-orders products sales-orders invoices
    receiving rfq stock-transfers fulfillments stock-adjustments
"""
_POST = f"{_POST_AND_PUT} customers work-orders/{{key}}/materials service-requests documents".split()
_PUT = f"{_POST_AND_PUT} inventories".split()


@dataclass(frozen=True, slots=True)
class ListEndpoint:
    """
    One list endpoint of the API.

    :param domain: ``eam``, ``erp`` or ``wms``.
    :param name: what stands after the domain in the path, such as ``statuses/work-orders``.
    :param fields: what its records have, ``key`` and times included.
    :param declares_per_page: whether the page size can be asked for.
    :param single: whether ``GET {list}/{key}`` exists.
    :param post: whether records can be created.
    :param put: whether records can be replaced.
    """

    domain: str
    name: str
    fields: tuple[str, ...]
    declares_per_page: bool
    single: bool
    post: bool
    put: bool

    @property
    def resource(self) -> str:
        """The list's name across domains: ``eam/work-orders``."""
        return f"{self.domain}/{self.name}"

    @property
    def path(self) -> str:
        """The list's path on the server; a nested one has a ``{key}`` in it."""
        return f"/api/{self.domain}/{self.name}"


def _endpoint(domain: str, name: str) -> ListEndpoint:
    status = name.startswith("statuses/")
    keyed = () if name == "work-orders/custom-fields" else ("key",)
    words = _STATUS_FIELDS if status else _FIELDS[name]
    return ListEndpoint(
        domain=domain,
        name=name,
        fields=(*keyed, *words.split(), *_FEWER_TIMES.get(name, _TIMES)),
        declares_per_page=not status and name not in _WITHOUT_PER_PAGE,
        single=not status and name not in _WITHOUT_SINGLE,
        post=name in _POST,
        put=name in _PUT or (domain, name) == ("erp", "customers"),
    )


#: All list endpoints by resource.
LISTS: dict[str, ListEndpoint] = {
    endpoint.resource: endpoint
    for domain in DOMAINS
    for name in f"{_EVERYWHERE} {_NAMES[domain]}".split()
    for endpoint in [_endpoint(domain, name)]
}


@dataclass(frozen=True, slots=True)
class Target:
    """
    What a path means.

    :param endpoint: the list.
    :param parent: key of the work order whose materials are meant.
    :param key: key of the single record that is meant.
    """

    endpoint: ListEndpoint
    parent: str | None = None
    key: str | None = None


@lru_cache(maxsize=10_000)
def find(path: str) -> Target | None:
    """Return what a path means: ``/api/eam/work-orders/WO-000001``, or without ``/api/``."""
    resource = path.removeprefix("/api/").strip("/")
    if endpoint := LISTS.get(resource):
        return None if resource == NESTED else Target(endpoint)
    head, _, last = resource.rpartition("/")
    before, _, parent = head.rpartition("/")
    if last == "materials" and before == "eam/work-orders":
        return Target(LISTS[NESTED], parent=unquote(parent))
    single = LISTS.get(head)
    return Target(single, key=unquote(last)) if single and single.single else None
