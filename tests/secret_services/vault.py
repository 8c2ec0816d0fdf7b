"""The HTTP API of HashiCorp Vault's key/value engine, version 2: versions, check-and-set, policies.

As https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 has it; Debian has no package of Vault.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from secret_services.http_service import Answer, HttpService

TOKEN = "hvs.root-of-the-tests"


class Vault(HttpService):
    """A Vault with one mount, ``secret``."""

    uri = "vault://secret/makini/acme"
    _place = "makini/acme"

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, list[dict[str, Any] | None]] = {}
        self.environment = {"VAULT_ADDR": f"http://127.0.0.1:{self.port}", "VAULT_TOKEN": TOKEN}

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.serving(), pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def keep(self, path: str, data: dict[str, Any]) -> None:
        """Write a new version of a secret."""
        self.versions.setdefault(path, []).append(data)

    def delete(self, path: str) -> None:
        """Delete a secret's newest version, as ``vault kv delete`` does."""
        self.versions[path][-1] = None

    def put(self, text: str) -> None:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        # The engine keeps objects only.
        self.keep(self._place, document if isinstance(document, dict) else {"value": text})

    def text(self) -> str | None:
        versions = self.versions.get(self._place)
        if not versions:
            return None
        data = versions[-1] or {}
        return data["value"] if data.keys() == {"value"} else json.dumps(data, separators=(",", ":"))

    def answer(self, method: str, host: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        if headers.get("x-vault-token") != TOKEN:
            return _errors(403, "permission denied")
        if path == "/v1/auth/token/lookup-self":
            return 200, {}, {"data": {"id": TOKEN, "policies": ["default"]}}
        mount, _, secret = path.removeprefix("/v1/").partition("/data/")
        if mount != "secret":
            return _errors(404, f'no handler for route "{path.removeprefix("/v1/")}". route entry not found.')
        versions = self.versions.get(secret, [])
        if method == "GET":
            if not versions:
                return _errors(404)
            content = {"data": versions[-1], "metadata": _metadata(len(versions), versions[-1] is None)}
            return 404 if versions[-1] is None else 200, {}, {"data": content}
        if self.is_read_only:
            return _errors(403, "1 error occurred:\n\t* permission denied\n\n")
        if body.get("options", {}).get("cas", len(versions)) != len(versions):
            return _errors(400, "check-and-set parameter did not match the current version")
        self.keep(secret, body["data"])
        return 200, {}, {"data": _metadata(len(self.versions[secret]), deleted=False)}


def _errors(status: int, *texts: str) -> Answer:
    return status, {}, {"errors": list(texts)}


def _metadata(version: int, deleted: bool) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "created_time": now,
        "custom_metadata": None,
        "deletion_time": now if deleted else "",
        "destroyed": False,
        "version": version,
    }
