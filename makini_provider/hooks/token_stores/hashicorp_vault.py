"""Tokens in HashiCorp Vault (or OpenBao), key/value engine of version 2, through hvac."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultError

from makini_provider.api.errors import MakiniError, TokenStoreChangedError
from makini_provider.hooks.token_stores.document import Place, unreachable, unusable
from makini_provider.hooks.token_stores.location import Location
from makini_provider.hooks.token_stores.login import check_login


def place(location: Location, conn_id: str) -> Place:  # noqa: ARG001
    """Return the secret that a URI names: ``vault://[<vault_conn_id>@]<mount>/<path>``.

    :raises MakiniConfigurationError: a part of it can't be used
    """
    location.allow_options()
    if len(location.segments) < 2:
        raise location.unusable("must name a mount and a path below it")
    return _Secret(location)


class _Secret:
    """One secret, written only over the version that was read: check-and-set."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._mount, *path = location.segments
        self._path = "/".join(path)
        self._made: Any = None
        self._version: int | None = None
        self.name = location.name

    def read(self) -> str | None:
        with self._failures("read"):
            try:
                answer = self._secrets().read_secret_version(
                    self._path, mount_point=self._mount, raise_on_deleted_version=False
                )
            except InvalidPath as error:
                if error.errors:
                    raise self._no_engine("read") from None
                self._version = 0
                return None
            content = answer["data"]
            self._version = int(content["metadata"]["version"])
        # Where the newest version was deleted, there is none.
        return None if content["data"] is None else json.dumps(content["data"])

    def write(self, text: str) -> None:
        if self._version is None:
            self.read()
        with self._failures("written"):
            try:
                answer = self._secrets().create_or_update_secret(
                    self._path, secret=json.loads(text), cas=self._version, mount_point=self._mount
                )
            except InvalidRequest as error:
                if "check-and-set" not in str(error.errors):
                    raise
                raise TokenStoreChangedError(
                    f"token store {self.name!r} can't be written: somebody else wrote there meanwhile.",
                    remedy="Read it again: what is there now counts.",
                ) from None
            if not isinstance(answer, dict):
                raise self._no_engine("written")
            self._version = int(answer["data"]["version"])

    def _secrets(self) -> Any:
        if self._made is None:
            vault_conn_id = self._location.airflow_conn_id
            if vault_conn_id is None:
                self._made = hvac.Client(namespace=os.environ.get("VAULT_NAMESPACE"))
            else:
                self._made = _client_of_connection(self._location, vault_conn_id)
        return self._made.secrets.kv.v2

    def _no_engine(self, operation: str) -> MakiniError:
        return unusable(
            self.name,
            operation,
            f"{self._mount!r} is no mount of a key/value engine of version 2",
            "The first part of the path is the mount (a slash in it as %2F): vault secrets list -detailed.",
        )

    @contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        try:
            yield
        except MakiniError:
            raise
        except (Forbidden, Unauthorized):
            raise unusable(
                self.name,
                operation,
                "permission denied",
                "Either the Vault token of this process (VAULT_TOKEN, or the Airflow connection's) is not "
                "valid any more, or its policy lacks create, read and update on "
                f"'{self._mount}/data/{self._path}'.",
            ) from None
        except InvalidRequest as error:
            raise unusable(
                self.name, operation, type(error).__name__, "See the audit log of Vault for its reason."
            ) from None
        except (VaultError, requests.RequestException) as error:
            raise unreachable(
                self.name,
                operation,
                type(error).__name__,
                "Check VAULT_ADDR (or the Airflow connection), that Vault is unsealed and that this machine "
                "reaches it.",
            ) from None
        except (KeyError, TypeError, ValueError):
            raise self._no_engine(operation) from None


def _client_of_connection(location: Location, vault_conn_id: str) -> Any:
    try:
        from airflow.providers.hashicorp.hooks.vault import VaultHook
    except ModuleNotFoundError as error:
        raise location.unusable(
            f"names an Airflow connection, which needs the package {error.name!r}",
            "Install apache-airflow-providers-hashicorp; or leave out '<conn_id>@' for VAULT_ADDR and "
            "VAULT_TOKEN of the environment.",
        ) from None
    check_login(location.name, vault_conn_id)
    return VaultHook(vault_conn_id=vault_conn_id).get_conn()
