"""docs/resources.md, written from the catalogue: ``python tests/docs/resources_page.py`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from makini_provider.api.resources import Resource, catalogue

PAGE: Final = Path(__file__).parents[2] / "docs" / "resources.md"
DOMAINS: Final = {
    "eam": "Maintenance and assets (CMMS, EAM)",
    "erp": "Enterprise resource planning (ERP)",
    "wms": "Warehouse management (WMS)",
}
COLUMNS: Final = ("resource", "kind", "cursor field", "deleted records", "page size")

_INTRODUCTION = """\
# Resources

A resource is one list of Makini's API, named `domain/name`. The provider knows {all}. `MAKINI_RESOURCES`
and the form behind **Trigger** also take a whole domain: `eam/*` is all of its lists that stand alone.

Whether a resource has records depends on the connected system: a connection to a CMMS answers for the
`eam` lists, and often not for the others. A list that a connection does not have is answered with 404,
which fails its task at once.

What the columns mean:

- **kind**: `reference` is what other records point to (assets, sites, vendors, statuses): the initial sync
  always brings it whole, whatever `history` is. `transaction` is what happens in time (orders, readings):
  the initial sync brings the history period.
- **cursor field**: what "modified since" means for the list. `updatedAt` shows every change. `createdAt`
  shows new records only, which is enough for facts of a moment. *none*: nothing says when a record was
  changed, so each sync reads the whole list as a snapshot, and writes it only where something has changed.
- **deleted records**: `deletedAt` says that a record was deleted in the connected system; it lands as a
  change. *not told*: a deleted record simply stops appearing, which no window shows (see
  [delivery](delivery.md#what-no-window-shows)).
- **page size**: *as set*: the list takes `per_page`, so `page_size` of the [connection](connection.md)
  applies. *the server's*: it declares none, and none is sent.

The kind is this project's own division; all else is as Makini's published API description has it.
"""

_END = """\
## A list that is not here

`path:/api/…` names any other list by its path below the connection's base URL, such as
`path:/api/raw/tables/assets/data`. Nothing is known of such a list, so it is read as a snapshot, whole, at
each sync. The path is taken as it stands: no host, no query, no `..`.

A nested list (marked above) hangs on each record of another. It can't be synced as one list: sync the flat
list beside it (`eam/work-orders/materials`), or one parent's list by its path
(`path:/api/eam/work-orders/WO-1/materials`).
"""


def resources_page() -> str:
    """The page as it should be."""
    known = catalogue().values()
    parts = [_INTRODUCTION.format(all=len(known))]
    for domain, title in DOMAINS.items():
        rows = [resource for resource in known if resource.domain == domain]
        alone = sum(1 for row in rows if row.parent is None)
        parts.append(
            f"## {title}\n\n{len(rows)} lists; `{domain}/*` stands for {alone} of them.\n\n{_table(rows)}"
        )
    return "\n".join([*parts, _END])


def _table(rows: list[Resource]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in sorted(rows, key=lambda row: row.name)]
    return "\n".join(lines) + "\n"


def _cells(resource: Resource) -> list[str]:
    return [
        f"`{resource.name}`" + (" (nested)" if resource.parent else ""),
        resource.kind,
        f"`{resource.cursor_field}`" if resource.cursor_field else "*none*",
        "`deletedAt`" if resource.has_deleted_at else "*not told*",
        "as set" if resource.declares_per_page else "the server's",
    ]


if __name__ == "__main__":
    PAGE.write_text(resources_page())
