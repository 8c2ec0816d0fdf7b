"""The documentation says what the code does."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from makini_provider.api.diagnosis import Cause
from makini_provider.operators.planning import DagSettings, run_form
from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator
from makini_provider.operators.webhooks import MakiniWebhookCheckOperator, MakiniWebhookOperator
from makini_provider.sandbox import Behaviour, Sandbox, WebhookSettings
from makini_provider.sandbox.app import Api, make_app

from .pages import DOCS, PAGES, ROOT, anchors, blocks, first_cells, links, section
from .provoked import HISTORY, NOW, Troubles
from .resources_page import PAGE as RESOURCES
from .resources_page import resources_page

README = ROOT / "README.md"
OPERATORS = [MakiniInitialSyncOperator, MakiniIncrementalSyncOperator]


# Pages and links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {(README.parent / link.partition("#")[0]).resolve() for link in links(README)}
    assert set(DOCS.glob("*.md")) <= linked


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_parses(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_of_a_page_parses(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)


# What can be set


def test_the_minimal_dag_is_one_that_airflow_takes(tmp_path: Path) -> None:
    (dag,) = (block for block in blocks(README, "python") if "with DAG(" in block)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "minimal.py").write_text(dag)
    fill = (
        "import json, sys\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1])\n"
        "print(json.dumps([{name: sorted(d.task_ids) for name, d in bag.dags.items()}, bag.import_errors]))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", fill, str(tmp_path / "dags")],
        env={"PATH": os.defpath, "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    dags, errors = json.loads(finished.stdout.splitlines()[-1])
    assert errors == {}
    assert dags == {"makini_work_orders": ["sync"]}


class _Recording(dict[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return default


def test_settings_of_the_dags_are_those_of_the_readme() -> None:
    environment = _Recording()
    DagSettings.from_environment(environment)
    read = {name for name in environment.asked if name.startswith("MAKINI_")}
    told = first_cells(section(README, "The DAGs that come with it"))
    assert sorted(name for name in told if name.startswith("MAKINI_")) == sorted(read)


def test_defaults_of_the_settings_are_those_of_the_readme() -> None:
    rows = section(README, "The DAGs that come with it")
    told = dict(re.findall(r"^\| `(MAKINI_\w+)` \|.*\| ([^|]+) \|$", rows, re.MULTILINE))
    settings = DagSettings.from_environment({})
    assert re.findall(r"`([^`]+)`", told["MAKINI_CONN_IDS"]) == list(settings.conn_ids)
    assert re.findall(r"`([^`]+)`", told["MAKINI_RESOURCES"]) == list(settings.resources)
    assert told["MAKINI_HISTORY_DAYS"] == f"`{settings.history.days}`"
    assert told["MAKINI_LOOKBACK_MINUTES"] == f"`{settings.lookback.seconds // 60}`"
    assert told["MAKINI_SCHEDULE"] == f"`{settings.schedule}`"


def test_the_form_of_a_run_is_in_the_readme() -> None:
    assert {
        name for name in run_form() if f"`{name}`" not in section(README, "The DAGs that come with it")
    } == set()


def _parameters(operator: type) -> Iterator[inspect.Parameter]:
    for base in inspect.getmro(operator):
        if base.__module__ == "makini_provider.operators.sync" and "__init__" in vars(base):
            yield from (
                parameter
                for parameter in inspect.signature(vars(base)["__init__"]).parameters.values()
                if parameter.kind is parameter.KEYWORD_ONLY
            )


def test_every_parameter_of_the_operators_is_documented_and_no_other() -> None:
    wanted = {parameter.name for operator in OPERATORS for parameter in _parameters(operator)}
    assert sorted(first_cells(section(DOCS / "operators.md", "Parameters"))) == sorted(wanted)


@pytest.mark.parametrize("operator", [MakiniWebhookOperator, MakiniWebhookCheckOperator])
def test_every_parameter_of_the_webhook_operators_is_documented(operator: type) -> None:
    page = section(DOCS / "operators.md", "Webhooks")
    own = page[page.index(f"`{operator.__name__}`") :]
    wanted = [p.name for p in inspect.signature(operator).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {name for name in wanted if f"`{name}`" not in own} == set()


def test_templated_parameters_are_marked_as_such() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (yes|no) \|", section(DOCS / "operators.md", "Parameters"), re.MULTILINE
    )
    assert {name for name, mark in rows if mark == "yes"} == set(MakiniInitialSyncOperator.template_fields)


def test_defaults_of_parameters_are_as_documented() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section(DOCS / "operators.md", "Parameters"), re.MULTILINE)
    )
    for operator in OPERATORS:
        for parameter in _parameters(operator):
            if isinstance(parameter.default, str):
                assert f"`{parameter.default!r}`".replace("'", '"') == rows[parameter.name]
            elif parameter.default is parameter.empty:
                assert rows[parameter.name] == "*required*"


# What happens


def test_the_list_of_resources_is_the_catalogue() -> None:
    assert RESOURCES.read_text() == resources_page(), "write it anew: python tests/docs/resources_page.py"


def test_the_receipt_is_explained_field_by_field(tmp_path: Path) -> None:
    with Sandbox(now=NOW, records=30) as sandbox:
        sandbox.store.clock.set(NOW)
        receipt = Troubles(sandbox, tmp_path).receipt(history=HISTORY)
    page = section(DOCS / "delivery.md", "The receipt")
    assert first_cells(page) == list(receipt)
    (example,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    assert list(example) == list(receipt)


def test_every_behaviour_of_the_sandbox_is_documented() -> None:
    told = first_cells(section(DOCS / "sandbox.md", "Misbehaving"))
    assert sorted(told) == sorted(Behaviour.__dataclass_fields__)


def test_every_setting_of_the_sandboxs_webhooks_is_documented() -> None:
    told = first_cells(section(DOCS / "sandbox.md", "Webhooks"))
    assert sorted(told) == sorted(WebhookSettings.__dataclass_fields__)


def test_every_way_to_steer_the_sandbox_is_documented() -> None:
    routes = make_app(Api.__new__(Api)).app.routes  # type: ignore[attr-defined]
    paths = {route.path for route in routes if route.path.startswith("/_sandbox")}
    told = re.findall(r"/_sandbox/\w+", section(DOCS / "sandbox.md", "Steering"))
    assert set(told) == paths


def test_error_texts_are_those_that_users_see(tmp_path: Path) -> None:
    with Sandbox(now=NOW, records=60) as sandbox:
        sandbox.store.clock.set(NOW)
        seen = Troubles(sandbox, tmp_path).texts()
    told = {" ".join(block.split()) for block in blocks(DOCS / "troubleshooting.md", "text")}
    assert told == {" ".join(text.split()) for text in seen.values()}


def test_the_causes_of_a_refusal_are_told_in_the_words_that_users_see(tmp_path: Path) -> None:
    with Sandbox(now=NOW, records=60) as sandbox:
        sandbox.store.clock.set(NOW)
        seen = Troubles(sandbox, tmp_path).causes()
    page = section(DOCS / "troubleshooting.md", "A 401 or 403")
    told = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", page, re.MULTILINE)
    assert set(told) == set(seen.values())
    assert seen.keys() == set(Cause) - {Cause.NONE, Cause.UNKNOWN}
