"""What Airflow makes of the provider's metadata: the connection type and its form in the UI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import makini_provider
from makini_provider.get_provider_info import get_provider_info
from makini_provider.hooks.connection import CONNECTION_TYPE, DEFAULT_HOST, EXTRA_KEYS, read_settings
from makini_provider.hooks.credentials import AUTHS
from makini_provider.hooks.makini import MakiniHook

_ASK_THE_UIS_SERVICE = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
(form,) = [form for form in HookMetaService.hook_meta_data() if form.connection_type == "makini"]
print("FORM" + json.dumps({
    "hook": form.hook_class_name, "name": form.hook_name, "extra": form.extra_fields,
    "standard": form.standard_fields.model_dump(),
}))
"""


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The form, as the UI's own service gives it to the browser; a process of its own, as it is cached."""
    folder = tmp_path_factory.mktemp("site")
    _install_metadata(folder)
    paths = [str(folder), str(Path(makini_provider.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    answer = subprocess.run(
        [sys.executable, "-c", _ASK_THE_UIS_SERVICE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    line = next(line for line in answer.stdout.splitlines() if line.startswith("FORM"))
    found: dict[str, Any] = json.loads(line.removeprefix("FORM"))
    return found


def _install_metadata(folder: Path) -> None:
    """Where the tests run from a source tree that is not installed, say what an installation would."""
    try:
        distribution("airflow-provider-makini")
    except PackageNotFoundError:
        info = folder / "airflow_provider_makini-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: airflow-provider-makini\nVersion: 0\n")
        (info / "entry_points.txt").write_text(
            "[apache_airflow_provider]\nprovider_info = makini_provider.get_provider_info:get_provider_info\n"
        )


def _connection_type() -> dict[str, Any]:
    (found,) = get_provider_info()["connection-types"]
    assert isinstance(found, dict)
    return found


def test_the_metadata_fits_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_metadata_names_the_distribution_and_its_version() -> None:
    info = get_provider_info()
    assert info["package-name"] == "airflow-provider-makini"
    assert info["versions"] == [makini_provider.__version__]


def test_reading_the_metadata_imports_neither_airflow_nor_requests() -> None:
    code = (
        "import sys; from makini_provider.get_provider_info import get_provider_info; get_provider_info(); "
        "import makini_provider.hooks; print({'airflow', 'requests', 'msgspec'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(makini_provider.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "set()"


def test_hook_and_metadata_agree() -> None:
    connection_type = _connection_type()
    assert connection_type["connection-type"] == MakiniHook.conn_type == CONNECTION_TYPE
    assert connection_type["hook-class-name"] == f"{MakiniHook.__module__}.{MakiniHook.__qualname__}"
    assert connection_type["hook-name"] == MakiniHook.hook_name
    assert connection_type["ui-field-behaviour"]["placeholders"]["host"] == DEFAULT_HOST


def test_every_field_of_the_form_is_read() -> None:
    assert set(_connection_type()["conn-fields"]) <= set(EXTRA_KEYS)
    untouched = dict.fromkeys(_connection_type()["conn-fields"])
    assert read_settings(conn_id="acme", password="t", extra=untouched).warnings == ()


def test_the_ui_offers_the_type_by_its_name(form: dict[str, Any]) -> None:
    assert (form["name"], form["hook"]) == ("Makini", "makini_provider.hooks.makini.MakiniHook")


def test_login_and_password_say_what_they_are_and_what_does_not_apply_is_hidden(form: dict[str, Any]) -> None:
    standard = form["standard"]
    assert standard["login"]["title"] == "Client id"
    assert standard["password"]["title"] == "API token or client secret"
    assert standard["host"]["placeholder"] == DEFAULT_HOST
    assert {name for name, field in standard.items() if field and field["hidden"]} == {"url_schema"}


def test_the_way_in_is_chosen_from_those_that_there_are(form: dict[str, Any]) -> None:
    schema = form["extra"]["auth"]["schema"]
    assert set(schema["enum"]) == {*AUTHS, None}
    assert set(schema["values_display"]) == {*AUTHS, "None"}


def test_every_field_has_a_label_and_help_and_may_stay_empty(form: dict[str, Any]) -> None:
    assert form["extra"]
    for field in form["extra"].values():
        assert field["schema"]["title"]
        assert field["description"].endswith(".")
        assert "null" in field["schema"]["type"]
        assert field["value"] is None


@pytest.mark.parametrize("field", ["proxies", "refresh_token"])
def test_a_field_that_may_hold_a_secret_is_a_password_field(form: dict[str, Any], field: str) -> None:
    assert form["extra"][field]["schema"]["format"] == "password"
