"""What is published: the wheel, the sdist, and the provider as Airflow sees it in an empty environment."""

from __future__ import annotations

import email
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import makini_provider

from .conftest import Distribution, InstalledProvider

pytestmark = pytest.mark.package

NAME = "airflow-provider-makini"
VERSION = makini_provider.__version__
DIST_INFO = f"airflow_provider_makini-{VERSION}.dist-info"


def read(wheel: Path, member: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member).decode()


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(distribution: Distribution) -> None:
    names = set(members(distribution.wheel))
    assert {Path(name).parts[0] for name in names} == {"makini_provider", DIST_INFO}
    assert "makini_provider/py.typed" in names
    assert f"{DIST_INFO}/licenses/LICENSE" in names
    strangers = {"tests", "dags", "docs", "benchmarks", "scripts", "__pycache__"}
    assert not [name for name in names if strangers.intersection(Path(name).parts)]


def test_the_wheel_announces_the_provider(distribution: Distribution) -> None:
    entry_points = read(distribution.wheel, f"{DIST_INFO}/entry_points.txt")
    assert "[apache_airflow_provider]" in entry_points
    assert "provider_info = makini_provider.get_provider_info:get_provider_info" in entry_points


def test_the_metadata_says_what_is_needed(distribution: Distribution) -> None:
    metadata = email.message_from_string(read(distribution.wheel, f"{DIST_INFO}/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == (NAME, VERSION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "apache-airflow>=3.2" in metadata.get_all("Requires-Dist", [])
    assert metadata.get_payload(), "the README is the page of the package"


def test_the_sdist_builds_the_same_wheel(distribution: Distribution) -> None:
    assert members(distribution.wheel_from_sdist) == members(distribution.wheel)


def test_the_sdist_holds_what_its_tests_need(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt"} <= names
    assert {"scripts/setup.sh", "tests/package/test_distribution.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "makini-data", ".git/"))]


def test_nothing_but_the_wheel_is_installed(installed_provider: InstalledProvider) -> None:
    where = installed_provider.run(
        installed_provider.python, "-c", "import makini_provider; print(makini_provider.__file__)"
    )
    assert Path(where.strip()).is_relative_to(installed_provider.python.parents[1])


def test_airflow_lists_the_provider(installed_provider: InstalledProvider) -> None:
    printed = installed_provider.run(installed_provider.airflow, "providers", "list", "-o", "json")
    providers = json.loads(printed[printed.index("[") :])
    assert [found["version"] for found in providers if found["package_name"] == NAME] == [VERSION]


def test_airflow_shows_the_provider_in_full(installed_provider: InstalledProvider) -> None:
    printed = installed_provider.run(
        installed_provider.airflow, "providers", "get", NAME, "--full", "-o", "yaml"
    )
    (info,) = yaml.safe_load(printed)
    assert info["package-name"] == NAME
    assert [kind["connection-type"] for kind in info["connection-types"]] == ["makini"]


def test_airflow_finds_the_hook(installed_provider: InstalledProvider) -> None:
    printed = installed_provider.run(installed_provider.airflow, "providers", "hooks", "-o", "json")
    hooks = {hook["connection_type"]: hook for hook in json.loads(printed[printed.index("[") :])}
    assert hooks["makini"]["class"] == "makini_provider.hooks.makini.MakiniHook"
    assert hooks["makini"]["hook_name"] == "Makini"
