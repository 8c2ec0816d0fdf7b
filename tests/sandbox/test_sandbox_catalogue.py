"""The sandbox's lists and fields are those that the vendor publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from makini_provider.sandbox.catalogue import DOMAINS, LISTS

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "makini-api"


class Specification:
    """One of the vendor's OpenAPI files, with its references resolved."""

    def __init__(self, domain: str) -> None:
        self.root = json.loads((PUBLISHED / f"openapi_{domain}.json").read_text(encoding="utf-8"))

    def resolve(self, schema: Any) -> dict[str, Any]:
        while isinstance(schema, dict) and "$ref" in schema:
            target = self.root
            for part in schema["$ref"].split("/")[1:]:
                target = target[part]
            schema = target
        return schema if isinstance(schema, dict) else {}

    def properties(self, schema: Any) -> dict[str, Any]:
        schema = self.resolve(schema)
        found: dict[str, Any] = {}
        for part in ("allOf", "oneOf", "anyOf"):
            for piece in schema.get(part, []):
                found |= self.properties(piece)
        return found | schema.get("properties", {})

    def lists(self) -> Iterator[tuple[str, tuple[bool, bool, bool, bool], set[str]]]:
        """Yield path, (declares per_page, POST, single GET, single PUT) and fields of each list."""
        for path, operations in self.root["paths"].items():
            get = operations.get("get")
            if not get or path.endswith("{key}"):
                continue
            content = get["responses"].get("200", {}).get("content", {}).get("application/json", {})
            data = self.resolve(self.properties(content.get("schema")).get("data"))
            if not data:
                continue
            declared = {parameter["name"] for parameter in get.get("parameters", [])}
            single = self.root["paths"].get(path + "/{key}", {})
            facts = ("per_page" in declared, "post" in operations, "get" in single, "put" in single)
            yield path, facts, set(self.properties(data.get("items")))


def test_there_are_109_lists() -> None:
    counts = [sum(endpoint.domain == domain for endpoint in LISTS.values()) for domain in DOMAINS]
    assert counts == [34, 43, 32]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the vendor's OpenAPI files are not beside the repository")
@pytest.mark.parametrize("domain", DOMAINS)
def test_lists_and_fields_are_those_of_the_published_files(domain: str) -> None:
    published = {path: (facts, fields) for path, facts, fields in Specification(domain).lists()}
    served = {
        endpoint.path: (
            (endpoint.declares_per_page, endpoint.post, endpoint.single, endpoint.put),
            set(endpoint.fields),
        )
        for endpoint in LISTS.values()
        if endpoint.domain == domain
    }
    assert served == published
