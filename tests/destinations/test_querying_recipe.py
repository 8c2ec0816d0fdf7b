"""The SQL of docs/querying.md finds what the provider's own reader finds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import chdir
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from makini_provider.cli.main import main
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records

from .building import NOW, facts, kill, land, record, stream

PAGE = Path(__file__).parents[2] / "docs" / "querying.md"
WORK_ORDERS = stream(source="makini_default")
FOLDER = stream_folder(WORK_ORDERS)


def recipes() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def work_orders(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[FilesDestination, duckdb.DuckDBPyConnection]]:
    """Two syncs of work orders, and a database in the folder where files.txt is."""
    destination = FilesDestination(f"file://{root}")
    first = [record(str(n), "2026-07-01T00:00:00Z", title=f"first {n}", status="OPEN") for n in range(9)]
    second = [
        record("0", "2026-07-01T02:30:00+02:00", title="later, elsewhere"),
        record("1", "2026-07-01T01:30:00+02:00", title="earlier, elsewhere"),
        record("2", "2026-07-01T00:00:00Z", title="the same time"),
        record("3", "2026-07-01T00:00:00.000001Z", title="a microsecond later"),
        record("4", None, title="no time"),
        record("5", "2026-07-02T00:00:00Z", title="deleted", deletedAt="2026-07-02T00:00:00Z"),
        record(None, None, title="no key"),
        record(None, None, title="no key either"),
    ]
    later = NOW + timedelta(hours=1)
    land(destination, WORK_ORDERS, [(NOW, first)], facts())
    land(destination, WORK_ORDERS, [(later, second)], facts(read_at=later))
    killed = destination.begin(WORK_ORDERS)
    killed.write([record("0", "2026-07-09T00:00:00Z", title="never committed")], NOW)
    kill(killed)

    capsys.readouterr()
    assert main(["files", f"file://{root}", "makini_default/eam/work-orders"]) == 0
    (tmp_path / "files.txt").write_text(capsys.readouterr().out)
    with chdir(tmp_path), duckdb.connect() as database:
        yield destination, database


def test_the_newest_versions_are_the_readers(
    work_orders: tuple[FilesDestination, duckdb.DuckDBPyConnection],
) -> None:
    destination, database = work_orders
    database.execute(recipes()[0])
    found = [json.loads(row[0]) for row in database.execute("SELECT json FROM work_orders").fetchall()]
    expected = [json.loads(raw) for raw in newest_records(destination.store, FOLDER)]
    assert sorted(found, key=json.dumps) == sorted(expected, key=json.dumps)
    assert len(found) == 11


def test_where_webhooks_are_in_use_the_newest_versions_are_the_readers_too(
    work_orders: tuple[FilesDestination, duckdb.DuckDBPyConnection],
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tombstones bury what was read before them, and a sync that began earlier and committed later."""
    destination, database = work_orders
    before, at, after = (NOW + timedelta(hours=2, seconds=n) for n in (-1, 0, 1))
    missed = [record(key) for key in ("6", "7", "8", "never here")]
    land(destination, WORK_ORDERS, [(at, missed)], facts(None, kind="tombstones", read_at=at))
    again = record("7", "2026-06-01T00:00:00Z", title="older, and seen again")
    land(destination, WORK_ORDERS, [(after, [again])], facts(None, kind="events", read_at=after))
    land(destination, WORK_ORDERS, [(before, [record("8", title="too early")])], facts(read_at=before))
    capsys.readouterr()
    assert main(["files", f"file://{root}", "makini_default/eam/work-orders", "--json"]) == 0
    (tmp_path / "files.json").write_text(capsys.readouterr().out)
    database.execute(recipes()[2])
    found = [json.loads(row[0]) for row in database.execute("SELECT json FROM work_orders").fetchall()]
    expected = [json.loads(raw) for raw in newest_records(destination.store, FOLDER)]
    assert sorted(found, key=json.dumps) == sorted(expected, key=json.dumps)
    assert {row["key"] for row in found} == {*"0123457", None}


def test_the_fields_come_as_columns(
    work_orders: tuple[FilesDestination, duckdb.DuckDBPyConnection],
) -> None:
    _, database = work_orders
    for recipe in recipes()[:2]:
        rows = database.execute(recipe).fetchall()
    assert rows[:4] == [
        ("0", "later, elsewhere", None),
        ("1", "first 1", "OPEN"),
        ("2", "the same time", None),
        ("3", "a microsecond later", None),
    ]
    assert "deleted" not in {title for _, title, _ in rows}


def test_the_python_of_the_page_runs(
    work_orders: tuple[FilesDestination, duckdb.DuckDBPyConnection], root: Path
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    seen: list[bytes] = []
    code = code.replace("file:///data/makini", f"file://{root}").replace("...  #", "seen.append(record)  #")
    exec(code, {"seen": seen})
    assert len(seen) == 11
