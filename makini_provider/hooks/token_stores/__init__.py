"""Durable places for tokens that rotate, chosen by a URI; each store's client is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.token_pair import TokenStore
from makini_provider.hooks.token_stores.document import DocumentStore, Place
from makini_provider.hooks.token_stores.location import EXAMPLES, Location

_STORES: Final = {
    "variable": "variable:variable_place",
}


def open_token_store(uri: str, *, conn_id: str) -> TokenStore:
    """Open the store that a connection's ``token_store`` names; nothing is sent yet.

    :param uri: such as ``variable://makini_acme_tokens``
    :param conn_id: the Airflow connection whose tokens it keeps
    :raises MakiniConfigurationError: the URI can't be used, or the store's client is not installed
    """
    location = Location.parse(uri)
    if location.scheme not in _STORES:
        raise MakiniConfigurationError(
            f"token_store {location.uri!r}: no such kind of store; known are {', '.join(_STORES)}.",
            remedy=EXAMPLES,
        )
    module, _, function = _STORES[location.scheme].partition(":")
    place: Place = getattr(import_module(f"{__name__}.{module}"), function)(location, conn_id)
    return DocumentStore(place, conn_id)
