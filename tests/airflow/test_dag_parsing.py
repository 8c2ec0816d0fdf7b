"""DAG files parse fast and alone: without network, connection, database or heavy imports."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import ROOT, AirflowHome

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.operators.planning import DagSettings, expand_resources, plan_items, run_form
from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator

pytestmark = pytest.mark.airflow

DAG_FILES = sorted((ROOT / "dags").glob("*.py"))

# What a DAG file may not need: any of it raises.
GUARD = """
import json, os, socket, sqlite3, sys

def refuse(*_, **__):
    raise AssertionError("a DAG file was parsed with a network or a database")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
sqlite3.connect = sqlite3.dbapi2.connect = refuse
"""

IMPORT_OPERATORS = """
import json, sys
import airflow.sdk
import airflow.sdk.bases.operator, airflow.sdk.exceptions
before = set(sys.modules)
import makini_provider.operators.sync
print(json.dumps(sorted(set(sys.modules) - before)))
print(json.dumps(sorted(sys.modules)))
"""

PARSE = (
    GUARD
    + """
for path in sys.argv[1:]:
    names = {"__name__": "dag_file", "__file__": path}
    exec(compile(open(path).read(), path, "exec"), names)
print(json.dumps(sorted(name for name in sys.modules if name.startswith(("requests", "makini_provider")))))
"""
)

FILL_DAG_BAG = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors}))
"""


def last_line(output: str) -> Any:
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def imported(airflow_home: AirflowHome) -> tuple[list[str], list[str]]:
    """What the operators' import adds to that of ``airflow.sdk``, and all that is loaded then."""
    done = airflow_home.command(sys.executable, "-c", IMPORT_OPERATORS)
    assert done.code == 0, done.output
    added, loaded = done.output.splitlines()[-2:]
    return json.loads(added), json.loads(loaded)


@pytest.mark.parametrize(
    "heavy",
    ["requests", "aiohttp", "urllib3", "airflow.providers.http", "makini_provider.hooks", "sqlalchemy"],
)
def test_importing_the_operators_loads_no_client(imported: tuple[list[str], list[str]], heavy: str) -> None:
    added, _ = imported
    assert not [name for name in added if name == heavy or name.startswith(f"{heavy}.")]


def test_importing_the_operators_leaves_requests_and_http_hook_unloaded(
    imported: tuple[list[str], list[str]],
) -> None:
    _, loaded = imported
    assert not {"requests", "aiohttp", "airflow.providers.http.hooks.http"} & set(loaded)


def test_importing_the_operators_loads_no_storage(imported: tuple[list[str], list[str]]) -> None:
    added, _ = imported
    assert not [name for name in added if name.startswith(("fsspec", "s3fs", "gcsfs", "adlfs", "upath"))]


def test_importing_the_operators_loads_little(imported: tuple[list[str], list[str]]) -> None:
    added, _ = imported
    strangers = {name.split(".")[0] for name in added if not name.startswith("makini_provider")}
    assert strangers <= {"airflow", "msgspec", "difflib", *sys.stdlib_module_names}


def test_dag_files_parse_without_network_and_database_and_settings(airflow_home: AirflowHome) -> None:
    done = airflow_home.command(sys.executable, "-c", PARSE, *DAG_FILES)
    assert done.code == 0, done.output
    loaded = last_line(done.output)
    assert "makini_provider.operators.sync" in loaded
    assert not [name for name in loaded if name.startswith(("requests", "makini_provider.hooks"))]


def test_airflow_imports_all_dag_files(airflow_home: AirflowHome) -> None:
    done = airflow_home.command(sys.executable, "-c", FILL_DAG_BAG, ROOT / "dags")
    assert done.code == 0, done.output
    assert last_line(done.output) == {
        "dags": [
            "makini_connection_health",
            "makini_incremental_sync",
            "makini_initial_sync",
            "makini_token_rotation",
            "makini_webhook_events",
        ],
        "errors": {},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAKINI_HISTORY_DAYS", "ninety"),
        ("MAKINI_DESTINATION", "/data/makini"),
        ("MAKINI_SCHEDULE", "hourly"),
        ("MAKINI_ROTATION_SCHEDULE", "daily"),
    ],
)
def test_an_unusable_setting_is_an_import_error_that_names_it(
    airflow_home: AirflowHome, name: str, value: str
) -> None:
    done = airflow_home.command(sys.executable, "-c", FILL_DAG_BAG, ROOT / "dags", **{name: value})
    errors = last_line(done.output)["errors"]
    assert errors
    for error in errors.values():
        assert name in error
        assert repr(value) in error


# Settings


def test_settings_have_defaults() -> None:
    settings = DagSettings.from_environment({"AIRFLOW_HOME": "/opt/airflow"})
    assert settings.conn_ids == ["makini_default"]
    assert settings.destination == "file:///opt/airflow/makini-data"
    assert settings.history == timedelta(days=90)
    assert settings.lookback == timedelta(hours=1)
    assert settings.schedule == "0 * * * *"
    assert settings.task_arguments == {}
    assert expand_resources(settings.resources) == list(settings.resources)


def test_an_empty_setting_is_no_setting() -> None:
    names = ["CONN_IDS", "RESOURCES", "DESTINATION", "HISTORY_DAYS", "LOOKBACK_MINUTES", "SCHEDULE", "POOL"]
    empty = {f"MAKINI_{name}": "" for name in names} | {"AIRFLOW_HOME": "/opt/airflow"}
    assert DagSettings.from_environment(empty) == DagSettings.from_environment(
        {"AIRFLOW_HOME": "/opt/airflow"}
    )


def test_settings_are_read_from_the_environment() -> None:
    settings = DagSettings.from_environment(
        {
            "MAKINI_CONN_IDS": "plant_1, plant_2,",
            "MAKINI_RESOURCES": "eam/work-orders, eam/sites",
            "MAKINI_DESTINATION": "s3://aws@bucket/makini",
            "MAKINI_HISTORY_DAYS": "30",
            "MAKINI_LOOKBACK_MINUTES": "90",
            "MAKINI_SCHEDULE": "*/15 * * * *",
            "MAKINI_POOL": "makini",
        }
    )
    assert settings.conn_ids == ["plant_1", "plant_2"]
    assert settings.resources == ["eam/work-orders", "eam/sites"]
    assert settings.destination == "s3://aws@bucket/makini"
    assert settings.history == timedelta(days=30)
    assert settings.lookback == timedelta(minutes=90)
    assert settings.schedule == "*/15 * * * *"
    assert settings.task_arguments == {"pool": "makini"}


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf", "1e9"])
@pytest.mark.parametrize("name", ["MAKINI_HISTORY_DAYS", "MAKINI_LOOKBACK_MINUTES"])
def test_a_setting_that_is_no_sensible_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=f"{name} is '{value}'.*Set it to a number such as"):
        DagSettings.from_environment({name: value})


def test_the_default_destination_is_absolute_where_airflow_home_is_not() -> None:
    for home in ("airflow-home", "~/airflow-home"):
        destination = DagSettings.from_environment({"AIRFLOW_HOME": home}).destination
        assert Path(destination.removeprefix("file://")).is_absolute()
        assert "~" not in destination


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MAKINI_DESTINATION", "data", ["destination 'data'", "file:///"]),
        ("MAKINI_RESOURCES", "eam/sites,eam/workorders", ["'eam/workorders'", "eam/work-orders"]),
        ("MAKINI_SCHEDULE", "every minute", ["'every minute'", "'0 * * * *'"]),
    ],
)
def test_a_setting_that_no_task_could_use_is_refused_at_once(name: str, value: str, words: list[str]) -> None:
    with pytest.raises(MakiniConfigurationError) as refused:
        DagSettings.from_environment({name: value})
    assert all(word in str(refused.value) for word in [name, *words])


# Planning


def settings(**changed: str) -> DagSettings:
    return DagSettings.from_environment({"MAKINI_RESOURCES": "eam/sites,eam/work-orders", **changed})


def test_a_plan_is_every_connection_with_every_resource() -> None:
    items = plan_items(settings(MAKINI_CONN_IDS="one,two,one"), {})
    assert [(item["makini_conn_id"], item["resource"]) for item in items] == [
        ("one", "eam/sites"),
        ("one", "eam/work-orders"),
        ("two", "eam/sites"),
        ("two", "eam/work-orders"),
    ]


def test_a_plans_items_are_arguments_of_both_operators() -> None:
    for item in plan_items(settings(), {name: param.value for name, param in run_form().items()}):
        for operator in (MakiniInitialSyncOperator, MakiniIncrementalSyncOperator):
            operator(task_id="sync", destination="file:///data", **item)


def test_a_plan_with_more_items_than_airflow_maps_is_refused() -> None:
    many = ",".join(f"plant_{number}" for number in range(501))
    with pytest.raises(MakiniConfigurationError, match=r"1002 streams.*1000.*MAKINI_CONN_IDS"):
        plan_items(settings(MAKINI_CONN_IDS=many), {})


@pytest.mark.parametrize(("name", "near"), [("eam/workorders", "eam/work-orders"), ("aem/*", "aem")])
def test_a_plan_with_an_unknown_resource_is_refused(name: str, near: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=near):
        plan_items(settings(MAKINI_RESOURCES=name), {})


@pytest.mark.parametrize("name", ["window_start", "window_end"])
@pytest.mark.parametrize("time", ["2026-07-01T00:00:00", "yesterday"])
def test_a_plan_with_a_time_that_means_no_instant_is_refused(name: str, time: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=f"{name} is .*{time}"):
        plan_items(settings(), {name: time})


def test_a_whole_domain_is_all_of_its_lists_that_stand_alone() -> None:
    names = expand_resources(["wms/*", "eam/*"])
    assert {name.partition("/")[0] for name in names} == {"wms", "eam"}
    assert "eam/work-orders" in names
    assert "eam/work-orders/{key}/materials" not in names


# Arguments of the operators, where a DAG file is parsed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resource": "eam/workorders"}, ["eam/workorders", "eam/work-orders"]),
        ({"resource": ""}, ["resource"]),
        ({"resource": "path:api/../x"}, ["path"]),
        ({"destination": "/data"}, ["destination '/data'", "file:///data"]),
        ({"destination": "data"}, ["destination 'data'", "file:///"]),
        ({"destination": ""}, ["destination is ''", "file:///"]),
        ({"destination": "file:///data/../etc"}, ["destination", ".."]),
        ({"destination": "file://data"}, ["destination", "absolute"]),
        ({"destination": "s3://bucket/x?y"}, ["destination", "?"]),
        ({"destination": "sql://warehouse/makini"}, ["destination", "tables"]),
        ({"history": timedelta(days=-1)}, ["history", "more than 0"]),
        ({"history": 0}, ["history", "more than 0"]),
        ({"history": "90"}, ["history", "timedelta"]),
        ({"max_window": timedelta(0)}, ["max_window", "more than 0"]),
        ({"compression": "brotli"}, ["compression 'brotli'", "gzip"]),
        ({"file_format": "csv"}, ["file_format 'csv'", "jsonl"]),
        ({"window_start": "yesterday"}, ["window_start is 'yesterday'", "ISO 8601"]),
        ({"window_end": "2026-08-01"}, ["window_end is 2026-08-01", "time zone"]),
    ],
)
@pytest.mark.parametrize("operator", [MakiniInitialSyncOperator, MakiniIncrementalSyncOperator])
def test_an_unusable_argument_is_refused_with_its_name_its_value_and_the_way_out(
    operator: type[Any], arguments: dict[str, Any], words: list[str]
) -> None:
    good = {"resource": "eam/work-orders", "destination": "file:///data"}
    with pytest.raises(MakiniConfigurationError) as refused:
        operator(task_id="sync", **good | arguments)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lookback": timedelta(minutes=-1)}, ["lookback", "at least 0"]),
        ({"before_initial": "wait"}, ["before_initial is 'wait'", "fail, skip, initial"]),
    ],
)
def test_an_unusable_argument_of_the_incremental_sync_is_refused(
    arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(MakiniConfigurationError) as refused:
        MakiniIncrementalSyncOperator(
            task_id="sync", resource="eam/work-orders", destination="file:///data", **arguments
        )
    assert all(word in str(refused.value) for word in words)


def test_templates_are_checked_when_they_are_rendered() -> None:
    MakiniIncrementalSyncOperator(
        task_id="sync",
        resource="{{ params.resource }}",
        destination="{{ var.value.destination }}",
        window_start="{{ params.window_start }}",
        full_refresh="{{ params.full_refresh }}",
    )


def test_what_identifies_a_stream_and_its_window_is_templated() -> None:
    templated = {"resource", "destination", "makini_conn_id", "makini_connection", "filters"}
    windowed = {"window_start", "window_end", "full_refresh"}
    assert templated | windowed <= set(MakiniInitialSyncOperator.template_fields)


def test_example_dags_need_no_catching_up(airflow_home: AirflowHome) -> None:
    show = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({
    dag.dag_id: [
        dag.catchup, dag.max_active_runs, type(dag.timetable).__name__, bool(dag.doc_md), sorted(dag.params),
        any(task.partial_kwargs.get("depends_on_past") for task in dag.tasks if task.is_mapped),
    ]
    for dag in bag.dags.values()
}))
"""
    form = ["connections", "full_refresh", "resources", "window_end", "window_start"]
    done = airflow_home.command(sys.executable, "-c", show, ROOT / "dags")
    assert last_line(done.output) == {
        "makini_initial_sync": [False, 1, "OnceTimetable", True, form, False],
        "makini_incremental_sync": [False, 1, "CronDataIntervalTimetable", True, form, False],
        "makini_connection_health": [False, 1, "CronTriggerTimetable", True, [], False],
        "makini_token_rotation": [False, 1, "CronTriggerTimetable", True, [], False],
        "makini_webhook_events": [False, 1, "AssetOrTimeSchedule", True, [], False],
    }


def test_example_dags_are_few_files(airflow_home: AirflowHome) -> None:
    assert {Path(file).stem for file in DAG_FILES} == {
        "makini_connection_health",
        "makini_initial_sync",
        "makini_incremental_sync",
        "makini_token_rotation",
        "makini_webhook_events",
    }
