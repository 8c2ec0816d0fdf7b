"""Durable places for tokens that rotate, chosen by a URI; each store's client is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.token_pair import TokenStore
from makini_provider.hooks.token_stores.document import DocumentStore, Place
from makini_provider.hooks.token_stores.location import EXAMPLES, Location

# The module of each kind, and the extra that brings its client.
_STORES: Final = {
    "variable": ("variable", ""),
    "aws-secrets-manager": ("aws_secrets_manager", "aws"),
    "vault": ("hashicorp_vault", "vault"),
    "azure-key-vault": ("azure_key_vault", "azure-key-vault"),
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
            f"token_store {location.name!r}: no such kind of store; known are {', '.join(_STORES)}.",
            remedy=EXAMPLES,
        )
    module, extra = _STORES[location.scheme]
    try:
        kind = import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        raise location.unusable(
            f"needs the package {error.name!r}, which is not installed",
            f"Install it on every machine that runs tasks: pip install 'airflow-provider-makini[{extra}]'.",
        ) from None
    place: Place = kind.place(location, conn_id)
    return DocumentStore(place, conn_id)
