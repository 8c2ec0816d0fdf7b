"""`make demo`, less its setting up: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "scripts" / "demo.py"
RESOURCES = "assets locations meters purchase-orders service-requests sites work-orders".split()

# What a person may have set for other work.
HOSTILE = {
    "AIRFLOW_HOME": "/nonexistent",
    "AIRFLOW__CORE__DAGS_FOLDER": "/nonexistent",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:9/none",
    "AIRFLOW_CONN_MAKINI_DEMO": '{"conn_type": "makini", "host": "http://127.0.0.1:9"}',
    "MAKINI_DESTINATION": "bogus",
    "MAKINI_CONN_IDS": "bogus",
    "http_proxy": "http://127.0.0.1:9",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass
class Ran:
    code: int
    printed: str
    seconds: float


def start(folder: Path, demo: Path = DEMO) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(demo)],
        cwd=folder,
        env={**os.environ, **HOSTILE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, demo: Path = DEMO) -> Ran:
    began = time.monotonic()
    process = start(folder, demo)
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        process.terminate()
    return Ran(process.returncode, printed, time.monotonic() - began)


def processes_below(folder: Path) -> list[str]:
    """Command lines of what still runs in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in (*folder.iterdir(), *(folder / ".airflow").iterdir()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a clone").resolve()


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[Ran]:
    mine = folder / "makini-data" / "makini_default" / "eam"
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("not the demo's")
    return run(folder)


@pytest.fixture(scope="module")
def second(first: Ran, folder: Path) -> Ran:
    return run(folder)


def test_it_works_whatever_is_set(first: Ran) -> None:
    assert first.code == 0, first.printed
    assert first.seconds < 150


def test_it_shows_what_each_resource_got(first: Ran) -> None:
    row = re.compile(
        r"^  eam/(\S+) +([\d,]+) +([\d,]+) +([\d,]+) +(\d+)   \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", re.MULTILINE
    )
    rows = {name: [int(n.replace(",", "")) for n in numbers] for name, *numbers in row.findall(first.printed)}
    assert sorted(rows) == RESOURCES
    for initial, changed, incremental, files in rows.values():
        assert initial > 0
        assert incremental >= changed > 0, "what was changed arrived"
        assert files >= 2


def test_it_shows_a_record_the_recipe_and_the_next_step(first: Ran) -> None:
    assert '  {"key": "WO-' in first.printed
    assert "-m makini_provider files makini-data makini_demo/eam/work-orders > files.txt" in first.printed
    assert "read_ndjson_objects(getvariable('files'))" in first.printed
    assert (
        'export AIRFLOW_CONN_MAKINI_DEFAULT=\'{"conn_type": "makini", "password": "<token>"}\''
        in first.printed
    )
    assert "export MAKINI_DESTINATION=" in first.printed
    assert "airflow dags test makini_incremental_sync" in first.printed


def test_it_fits_on_a_screen_without_noise(first: Ran, folder: Path) -> None:
    # How long the paths are is not the demo's doing.
    lines = first.printed.replace(str(folder), "…").replace(str(DEMO.parents[1]), "…").splitlines()
    assert len(lines) < 60
    assert [line for line in lines if len(line) > 110 and "export" not in line and "-m" not in line] == []
    assert not re.search(r"\[(info|warning|error)|Traceback|Warning:", first.printed)


def test_it_leaves_the_data_and_cleans_up(first: Ran, folder: Path) -> None:
    assert left_behind(folder) == [".airflow", "demo.log", "makini-data"]
    assert processes_below(folder) == []


def test_the_recipe_works_on_what_it_left(first: Ran, folder: Path) -> None:
    (command,) = re.findall(
        r"^  (\S+) -m (makini_provider files .*) > files.txt$", first.printed, re.MULTILINE
    )
    done = subprocess.run(
        [command[0], "-m", *command[1].split()], cwd=folder, capture_output=True, text=True, check=True
    )
    assert all(Path(line).is_file() for line in done.stdout.splitlines())
    assert done.stdout


def test_it_works_again_and_says_what_it_removed(second: Ran) -> None:
    assert second.code == 0, second.printed
    assert "What an earlier demo had left in makini-data/makini_demo was removed first." in second.printed


def test_it_removes_nothing_that_it_did_not_make(second: Ran, folder: Path) -> None:
    assert (folder / "makini-data/makini_default/eam/mine.txt").read_text() == "not the demo's"


def test_a_folder_of_the_same_name_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "makini-data" / "makini_demo" / "eam"
    mine.mkdir(parents=True)
    done = run(tmp_path)
    assert done.code == 1
    assert "makini-data/makini_demo exists and is not from an earlier demo: move it away" in done.printed
    assert mine.exists()


def test_a_file_in_the_place_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "makini-data").write_text("")
    done = run(tmp_path)
    assert done.code == 1
    assert "makini-data is a file, and should be a folder" in done.printed
    assert "Traceback" not in done.printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_cleans_up_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    printed = ""
    while "airflow db migrate" not in printed:
        read = process.stdout.read(1)
        assert read, printed
        printed += read
    time.sleep(1)
    process.send_signal(number)
    printed += process.communicate(timeout=30)[0]
    assert process.returncode == 128 + number
    assert "Traceback" not in printed
    assert left_behind(tmp_path) == [".airflow", "demo.log", "makini-data"]
    assert processes_below(tmp_path) == []


def test_a_failure_shows_the_last_errors_and_where_the_rest_is(tmp_path: Path) -> None:
    for name in ("scripts", "dags"):
        shutil.copytree(ROOT / name, tmp_path / name)
    dag = tmp_path / "dags" / "makini_initial_sync.py"
    dag.write_text(f"{dag.read_text()}\nraise RuntimeError('sabotaged')\n")
    done = run(tmp_path, tmp_path / "scripts" / "demo.py")
    assert done.code == 1
    assert "The demo failed. `airflow dags test makini_initial_sync` ended with exit code 1." in done.printed
    assert "sabotaged" in done.printed
    assert "All that Airflow said: .airflow/demo.log" in done.printed
    assert "sabotaged" in (tmp_path / ".airflow" / "demo.log").read_text()
    assert processes_below(tmp_path) == []
