"""Fields of the objects that stand inside of records, such as the lines of an order."""

ADDRESS = "country addressLines addressee state city postCode phone email notes isActive createdAt updatedAt"
CONTACT = "name position phones emails isActive isDefault"
DOCUMENT = "key entityKeys name url type contentType description notes createdAt updatedAt"
STEP = "key parentKey code title description priority checkList"
EFFORT = """
    laborKey vendorKey assetKey teamKey poKey poLineItemKey accountKey name description estimatedTime
    registeredTime rate cost startedAt finishedAt createdAt updatedAt deletedAt
"""
LINE = """
    key locationKey accountKey vendorKey assetKey materialKey productKey statusKey storeroomKey lineNo code
    type name description lineRef quantity receivedQuantity uomKey currencyKey price discount lineTaxValue
    lineTotalValue notes deliveryAt dueAt createdAt updatedAt deletedAt
"""
SALES_LINE = """
    productKey locationKey storeroomKey quantity quantityRequired price discount lineTaxValue lineTotalValue
    taxKey
"""
STOCK_LINE = "productKey materialKey quantity locationKey storeroomKey"
BOM_LINE = """
    locationKey materialKey productKey currencyKey description quantity uomKey notes price createdAt updatedAt
"""
INVOICE_LINE = """
    key locationKey vendorKey productKey statusKey storeroomKey currencyKey lineNo code lineRef quantity
    receivedQuantity uomKey price discount lineTaxValue lineTotalValue notes deliveryAt createdAt updatedAt
    deletedAt
"""
LINES = {
    "bom": BOM_LINE,
    "invoices": INVOICE_LINE,
    "stock-transfers": STOCK_LINE,
    "stock-adjustments": STOCK_LINE,
    "shipment-orders": STOCK_LINE,
}
SUPPLY = """
    vendorKey partNumber price uomKey currencyKey uomQuantity makePartNumber reorderPoint createdAt updatedAt
"""
PRICE = "name price uomKey uomQuantity currencyKey taxKey minQuantity maxQuantity updatedAt deletedAt"
INVENTORY = "key code name quantity unitCost locationKey updatedAt createdAt"
DRAWING = "drawingNo drawingPos referenceNo referencePos documents"
TRIGGER = "uomKey type interval recurring condition"
