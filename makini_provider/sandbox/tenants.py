"""The connections of the sandbox's application: each a connected system with data of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from .behaviour import Behaviour
from .clock import iso
from .store import Store

#: Key, name and status; the first is the one whose data the sandbox's own token reads.
CONNECTIONS = (
    ("09000207611898", "Northfield Foods", "connected"),
    ("09000207611899", "Harbour Mill Paper", "connected"),
    ("09000207611900", "Eastgate Cold Stores", "connected"),
    ("09000207611901", "Old Quarry Cement", "disconnected"),
)


class Tenants:
    """
    The connections, and the store of each, made when it is first asked for.

    :param first: the store of the first connection.
    :param make: makes the store of the one with this number and name.
    """

    def __init__(self, first: Store, make: Callable[[int, str], Store]) -> None:
        began = iso(first.clock.now())
        self._lock = RLock()
        self._make = make
        self._stores: dict[str, Store] = {CONNECTIONS[0][0]: first}
        #: As ``GET /api/system/connections`` lists them, by key.
        self.connections: dict[str, dict[str, Any]] = {
            key: {
                "key": key,
                "name": name,
                "email": "maintenance@example.com",
                "status": status,
                "integration_name": "sandbox",
                "tags": [],
                "created_at": began,
                "updated_at": began,
                "connected_at": began,
            }
            for key, name, status in CONNECTIONS
        }

    def store(self, key: str) -> Store:
        """Return the store of a connection; KeyError where there is no such connection."""
        with self._lock:
            if key not in self._stores:
                number = list(self.connections).index(self.connections[key]["key"])
                self._stores[key] = self._make(number, self.connections[key]["name"])
            return self._stores[key]

    def behave(self, behaviour: Behaviour) -> None:
        """Let all stores behave in another way, also those to come."""
        with self._lock:
            for store in self._stores.values():
                store.behave(behaviour)

    def set(self, key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Set fields of a connection, such as ``status``; KeyError where there is no such connection."""
        with self._lock:
            self.connections[key] = self.connections[key] | dict(fields)
            return self.connections[key]

    def page(self, number: int, per_page: int) -> dict[str, Any]:
        """Answer ``GET /api/system/connections``."""
        every = list(self.connections.values())
        start = (number - 1) * per_page
        last = max(-(-len(every) // per_page), 1)
        url = "/api/system/connections?page="
        return {
            "data": every[start : start + per_page],
            "links": {
                "first": f"{url}1",
                "last": f"{url}{last}",
                "prev": f"{url}{number - 1}" if number > 1 else None,
                "next": f"{url}{number + 1}" if number < last else None,
            },
            "meta": {
                "current_page": number,
                "from": start + 1,
                "last_page": last,
                "path": url.removesuffix("?page="),
                "per_page": per_page,
                "to": min(start + per_page, len(every)),
                "total": len(every),
            },
        }
