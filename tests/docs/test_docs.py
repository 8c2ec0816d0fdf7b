"""The documentation holds: links lead somewhere, code runs, and what is named exists."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk import DAG

from makini_provider.operators import planning
from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator
from makini_provider.sandbox import Sandbox
from tests.docs.provoked import HISTORY, NOW, Troubles

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPERATORS = ROOT / "docs" / "operators.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(prose(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles(page: Path) -> None:
    for number, code in enumerate(blocks(page, "python"), 1):
        compile(code, f"{page.name}, block {number}", "exec")


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG file that asks Airflow's database for something fails here, as it does in the dag-processor."""
    settings = sys.modules.get("airflow.settings")
    if settings is not None:
        monkeypatch.setattr(settings, "Session", None, raising=False)
        monkeypatch.setattr(settings, "engine", None, raising=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////nowhere/at/all.db")


@pytest.mark.usefixtures("no_database")
def test_the_minimal_dag_imports_without_a_database() -> None:
    (code,) = (block for block in blocks(README, "python") if "with DAG(" in block)
    dags: list[DAG] = []

    class Kept(DAG):
        def __enter__(self) -> DAG:
            dags.append(self)
            return super().__enter__()

    exec(code.replace("with DAG(", "with Kept("), {"Kept": Kept})

    (dag,) = dags
    (task,) = dag.tasks
    assert isinstance(task, MakiniIncrementalSyncOperator)
    assert task.before_initial == "initial"
    assert len(code.splitlines()) <= 25


def test_the_readme_has_the_settings_that_the_dags_read() -> None:
    source = inspect.getsource(planning.DagSettings)
    read = set(re.findall(r'environment(?:\.get\(|, )"(MAKINI_\w+)"', source))
    described = dict(re.findall(r"^\| `(MAKINI_\w+)` \|.*\| ([^|]+) \|$", README.read_text(), re.MULTILINE))
    assert set(described) == read

    settings = planning.DagSettings.from_environment({})
    assert tuple(re.findall(r"`([^`]+)`", described["MAKINI_RESOURCES"])) == settings.resources
    assert described["MAKINI_CONN_IDS"] == f"`{settings.conn_ids[0]}`"
    assert described["MAKINI_HISTORY_DAYS"] == f"`{settings.history.days}`"
    assert described["MAKINI_LOOKBACK_MINUTES"] == f"`{settings.lookback.seconds // 60}`"
    assert described["MAKINI_SCHEDULE"] == f"`{settings.schedule}`"


def test_each_operator_parameter_is_documented_with_whether_it_is_templated() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", OPERATORS.read_text(), re.MULTILINE)
    documented = {name: templated == "yes" for name, templated in rows}
    parameters = {
        name
        for operator in (MakiniInitialSyncOperator, MakiniIncrementalSyncOperator)
        for owner in operator.__mro__
        if owner.__module__ == operator.__module__
        for name, parameter in inspect.signature(owner.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert len(parameters) > 10
    assert set(documented) == parameters
    templated = set(MakiniIncrementalSyncOperator.template_fields)
    assert {name for name, is_templated in documented.items() if is_templated} == templated


@pytest.fixture(scope="module")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubles]:
    with Sandbox(now=NOW, records=150) as sandbox:
        sandbox.store.clock.set(NOW)
        yield Troubles(sandbox, tmp_path_factory.mktemp("troubles"))


def test_each_provoked_message_is_explained(troubles: Troubles) -> None:
    explained = re.findall(r"`([^`]+)`", TROUBLESHOOTING.read_text())
    quoted = [text for text in explained if len(text) > 12]
    unexplained = {
        name: text for name, text in troubles.texts().items() if not any(q in text for q in quoted)
    }
    assert not unexplained


def test_the_receipt_has_the_documented_fields(troubles: Troubles) -> None:
    receipt = troubles.receipt(history=HISTORY)
    (example,) = blocks(OPERATORS, "json")
    assert re.findall(r'^  "(\w+)"', example, re.MULTILINE) == list(receipt)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_speaks_of_one_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w./])/(work|home|root|tmp)/\w", page.read_text(encoding="utf-8"))
