"""Tokens in Azure Key Vault, through the Azure SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from makini_provider.hooks.token_stores.document import Place, unreachable, unusable
from makini_provider.hooks.token_stores.location import Location

_REMEDIES: Final = {
    403: "Give this identity the role 'Key Vault Secrets Officer' on the vault or the secret (or the access "
    "policy Get and Set), and check that the secret is enabled and the vault's firewall lets it in.",
    409: "A deleted secret of this name may wait for its end: recover or purge it, or choose another name.",
}


def place(location: Location, conn_id: str) -> Place:  # noqa: ARG001
    """Return the secret that a URI names: ``azure-key-vault://<vault name or host>/<secret>``.

    :raises MakiniConfigurationError: a part of it can't be used
    """
    location.refuse_login()
    location.allow_options()
    if len(location.segments) != 2:
        raise location.unusable("must name a vault and a secret in it")
    vault, secret = location.segments
    if not re.fullmatch(r"[A-Za-z0-9.-]+", vault):
        raise location.unusable("names a vault with characters that none can have")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,127}", secret):
        raise location.unusable(
            "names a secret that Key Vault can't have",
            "Its names have letters, digits and '-' only, at most 127 of them.",
        )
    return _Secret(location.name, vault if "." in vault else f"{vault}.vault.azure.net", secret)


class _Secret:
    """One secret, whose newest version counts."""

    def __init__(self, name: str, host: str, secret: str) -> None:
        self.name = name
        self._host = host
        self._secret = secret
        self._made: SecretClient | None = None

    def read(self) -> str | None:
        with self._failures("read"):
            try:
                # A secret may hold nothing: then it is none of ours.
                return self._client().get_secret(self._secret).value or ""
            except ResourceNotFoundError:
                return None

    def write(self, text: str) -> None:
        with self._failures("written"):
            self._client().set_secret(self._secret, text, content_type="application/json")

    def _client(self) -> SecretClient:
        if self._made is None:
            self._made = SecretClient(
                f"https://{self._host}",
                DefaultAzureCredential(),
                retry_total=2,
                connection_timeout=10,
                read_timeout=20,
            )
        return self._made

    @contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        try:
            yield
        except ClientAuthenticationError as error:
            raise unusable(
                self.name,
                operation,
                type(error).__name__,
                "Give this process an identity that DefaultAzureCredential finds (workload identity, managed "
                "identity, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET).",
            ) from None
        except HttpResponseError as error:
            status = error.status_code
            if status in _REMEDIES:
                raise unusable(self.name, operation, f"HTTP {status}", _REMEDIES[status]) from None
            raise unreachable(
                self.name, operation, f"HTTP {status}", "Try again; then see Azure's health page."
            ) from None
        except (AzureError, ValueError) as error:
            raise unreachable(
                self.name,
                operation,
                type(error).__name__,
                f"Check the vault's name, and that this machine reaches {self._host}.",
            ) from None
