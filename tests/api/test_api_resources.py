"""The catalogue: the vendor's facts, helpful refusals, and custom paths that stay where they belong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Request

from makini_provider.api.errors import MakiniConfigurationError, MakiniError, UnknownResourceError
from makini_provider.api.resources import catalogue, custom_resource, get_resource

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "makini-api"


class OpenApi:
    """One of the vendor's files, with its references resolved."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
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
        for combiner in ("allOf", "oneOf", "anyOf"):
            for piece in schema.get(combiner, []):
                found |= self.properties(piece)
        return found | schema.get("properties", {})

    def lists(self) -> Iterator[tuple[str, tuple[str, str | None, bool, bool, bool]]]:
        """Name → path, cursor field, has createdAt, has deletedAt, declares per_page."""
        for path, operations in self.root["paths"].items():
            get = operations.get("get")
            if get is None:
                continue
            content = get["responses"].get("200", {}).get("content", {}).get("application/json", {})
            data = self.resolve(self.properties(content.get("schema")).get("data"))
            if data.get("type") != "array":
                continue
            fields = self.properties(data.get("items"))
            cursor = next((field for field in ("updatedAt", "createdAt") if field in fields), None)
            declared = {self.resolve(parameter)["name"] for parameter in get.get("parameters", [])}
            facts = (path, cursor, "createdAt" in fields, "deletedAt" in fields, "per_page" in declared)
            yield path.removeprefix("/api/"), facts


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the vendor's OpenAPI files are not beside the repository")
@pytest.mark.parametrize("domain", ["eam", "erp", "wms"])
def test_the_catalogue_states_what_the_vendor_publishes(domain: str) -> None:
    ours = {
        name: (r.path, r.cursor_field, r.has_created_at, r.has_deleted_at, r.declares_per_page)
        for name, r in catalogue().items()
        if r.domain == domain
    }
    assert ours == dict(OpenApi(domain).lists())


def test_there_are_109_lists() -> None:
    domains = [resource.domain for resource in catalogue().values()]
    assert [domains.count(domain) for domain in ("eam", "erp", "wms")] == [34, 43, 32]
    assert len(domains) == 109


def test_29_lists_declare_no_per_page() -> None:
    assert sum(not resource.declares_per_page for resource in catalogue().values()) == 29


def test_names_are_domain_and_local_name() -> None:
    for name, resource in catalogue().items():
        assert name == resource.name == f"{resource.domain}/{resource.local_name}"
        assert resource.path == f"/api/{name}"


def test_the_nested_list_names_its_parent_and_no_other_does() -> None:
    parents = {name: r.parent for name, r in catalogue().items() if r.parent is not None}
    assert parents == {"eam/work-orders/{key}/materials": "eam/work-orders"}
    assert set(parents.values()) <= set(catalogue())


@pytest.mark.parametrize(
    "name", ["eam/work-orders", "erp/invoices", "wms/stock-transfers", "eam/meter-readings"]
)
def test_what_happens_in_time_is_a_transaction(name: str) -> None:
    assert get_resource(name).kind == "transaction"


@pytest.mark.parametrize("name", ["eam/assets", "erp/vendors", "wms/statuses/sales-orders", "eam/uom"])
def test_what_others_point_to_is_reference(name: str) -> None:
    assert get_resource(name).kind == "reference"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eam/workorders", "eam/work-orders"),
        ("work-orders", "eam/work-orders"),
        ("EAM/Work_Orders", "eam/work-orders"),
        ("eam/asset", "eam/assets"),
        ("cmms/assets", "eam/assets"),
        ("erp/purchase-order", "erp/purchase-orders"),
        (" eam/assets", "eam/assets"),
    ],
)
def test_an_unknown_resource_suggests_the_nearest_names(typed: str, meant: str) -> None:
    with pytest.raises(UnknownResourceError) as caught:
        get_resource(typed)
    assert repr(typed) in str(caught.value)
    assert repr(meant) in str(caught.value)


def test_a_name_near_nothing_points_to_the_list() -> None:
    with pytest.raises(UnknownResourceError, match=r"docs/resources\.md"):
        get_resource("zzzzzzzz")


@pytest.mark.parametrize("name", ["", "  ", None, 5, ["eam/assets"]])
def test_what_is_no_name_is_an_unknown_resource(name: Any) -> None:
    with pytest.raises(UnknownResourceError, match="eam/work-orders"):
        get_resource(name)


@given(st.text())
def test_any_text_is_a_resource_or_a_typed_error(name: str) -> None:
    with contextlib.suppress(MakiniConfigurationError):
        assert get_resource(name).name == name


def test_a_custom_path_is_a_snapshot_list_of_its_own() -> None:
    resource = get_resource("path:/api/raw/tables/assets/data")
    assert resource.path == "/api/raw/tables/assets/data"
    assert (resource.domain, resource.cursor_field) == ("path", None)
    assert resource.local_name == "api/raw/tables/assets/data"
    assert get_resource(resource.name) == resource


def test_a_custom_path_can_be_given_a_cursor_field() -> None:
    assert custom_resource("/api/v1/x", cursor_field="modified").cursor_field == "modified"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "api/x",
        "//evil.example/x",
        "https://evil.example/x",
        "/api//x",
        "/api/../system",
        "/..",
        "/./x",
        "/api/%2e%2e/system",
        "/api/.%2E/system",
        "/api%2fx",
        "/api%5c..%5cx",
        "/api\\..\\x",
        "/api/x?page=1",
        "/api/x#top",
        "/api/x y",
        "/api/x\n",
        "/api/x\x00",
        "/api/{key}/x",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(MakiniConfigurationError, match="custom path") as caught:
        get_resource(f"path:{path}")
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/api/x", "/api/x.y/z-1_2~", "/api/übung", "/api/a%20b", "/api/...", "/a:b@c"]
)
def test_a_plain_path_is_taken(path: str) -> None:
    assert custom_resource(path).path == path


@given(st.text(alphabet=st.sampled_from("/.%25eEfF2Cc\\;@:?#aé u"), max_size=30).map(lambda path: f"/{path}"))
def test_a_custom_path_never_leaves_the_base_path(path: str) -> None:
    try:
        resource = custom_resource(path)
    except MakiniError:
        return
    url = Request("GET", f"https://api.example/base{resource.path}").prepare().url
    assert url is not None
    assert url.startswith("https://api.example/base/")
    assert "/../" not in f"{url}/"
