"""The commands about what has landed: what they print, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

from makini_provider import __version__
from makini_provider.api.records import Record
from makini_provider.api.resources import get_resource
from makini_provider.cli.main import main
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.sync.coverage import Commit, Generation
from makini_provider.sync.destination import CommitFacts
from makini_provider.sync.ids import new_id
from makini_provider.sync.streams import Source, Stream
from makini_provider.sync.windows import Window

START = datetime(2026, 5, 1, tzinfo=UTC)
END = datetime(2026, 8, 1, tzinfo=UTC)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: its exit code, and what it printed on stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def land(
    root: Path, *keys: str, resource: str = "eam/work-orders", source: Source | None = None, full: bool = True
) -> Commit:
    """Commit records of a stream; a complete initial sync, or the first half of one."""
    destination = FilesDestination(f"file://{root}")
    stream = Stream(source or Source("makini_default"), get_resource(resource))
    attempt = destination.begin(stream)
    attempt.write([Record(key, END, b'{"key":"%s"}' % key.encode()) for key in keys], END)
    window = Window(START, END if full else START + timedelta(days=1))
    return attempt.commit(
        CommitFacts(
            kind="window",
            generation=Generation(new_id(), START, END, "run"),
            window=window,
            covered=window,
            read_at=END,
            upstream_completed_at=None,
            run_id="run",
        )
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two streams, and an attempt that was never committed."""
    root = tmp_path / "landing"
    land(root, "1", "2")
    land(root, "3", resource="eam/work-orders/materials", source=Source("Acme/EU", "c-1"))
    stray = FilesDestination(f"file://{root}").begin(
        Stream(Source("makini_default"), get_resource("eam/work-orders"))
    )
    stray.write([Record("9", END, b'{"key":"9"}')], END)
    stray._close_part()
    return root


# files


def test_files_prints_what_counts_and_nothing_else(run: Run, root: Path) -> None:
    code, printed, errors = run("files", f"file://{root}")
    assert (code, errors) == (0, "")
    files = [Path(line) for line in printed.splitlines()]
    assert len(files) == 2
    assert all(file.is_absolute() and file.is_file() for file in files)


@pytest.mark.parametrize(
    ("stream", "count"),
    [
        ("makini_default/eam/work-orders", 1),
        ("Acme/EU@c-1/eam/work-orders/materials", 1),
        ("%41cme%2f%45%55@c-1/eam/work-orders__materials", 1),
    ],
)
def test_files_of_one_stream_in_words_or_by_its_folder(run: Run, root: Path, stream: str, count: int) -> None:
    code, printed, _ = run("files", f"file://{root}", stream)
    assert code == 0
    assert len(printed.splitlines()) == count


def test_files_come_in_the_order_of_their_commits(run: Run, tmp_path: Path) -> None:
    for number in range(5):
        land(tmp_path, str(number))
        land(tmp_path, f"more {number}")
    _, printed, _ = run("files", tmp_path)
    parts = printed.splitlines()
    assert parts == sorted(parts)


def test_a_local_path_will_do(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run("files", f"file://{root}")
    monkeypatch.chdir(root.parent)
    assert run("files", "landing") == run("files", root) == run("files", f"file://{root}/") == expected


def test_json_tells_more(run: Run, root: Path) -> None:
    code, printed, _ = run("files", f"file://{root}", "makini_default/eam/work-orders", "--json")
    assert code == 0
    document = json.loads(printed)
    assert document["destination"] == f"file://{root}"
    (stream,) = document["streams"]
    (file,) = stream.pop("files")
    assert stream == {
        "source": "makini_default",
        "resource": "eam/work-orders",
        "folder": "makini_default/eam/work-orders",
        "watermark": "2026-08-01T00:00:00Z",
        "anchor": "2026-05-01T00:00:00Z",
        "coverage": [["2026-05-01T00:00:00Z", "2026-08-01T00:00:00Z"]],
        "commits": 1,
        "records": 2,
        "tombstones": [],
    }
    assert Path(file.pop("path")).is_file()
    assert file == {"records": 2, "bytes": 24, "reads": [{"line": 0, "asked_at": "2026-08-01T00:00:00Z"}]}


def test_json_of_a_stream_whose_initial_sync_is_not_done(run: Run, tmp_path: Path) -> None:
    land(tmp_path, "1", full=False)
    (stream,) = json.loads(run("files", tmp_path, "--json")[1])["streams"]
    assert (stream["watermark"], stream["anchor"]) == (None, None)
    assert stream["records"] == 1


# streams


def test_streams_prints_a_table(run: Run, root: Path) -> None:
    land(root, "1", resource="eam/assets", full=False)
    code, printed, errors = run("streams", root)
    assert (code, errors) == (0, "")
    assert printed == (
        "stream                                 records*  files  watermark\n"
        "Acme/EU@c-1/eam/work-orders/materials         1      1  2026-08-01T00:00:00Z\n"
        "makini_default/eam/assets                     1      1  none: the initial sync is not completed\n"
        "makini_default/eam/work-orders                2      1  2026-08-01T00:00:00Z\n"
        "\n"
        "* committed records: a record that was read twice, or changed, counts each time\n"
    )


# vacuum


def test_vacuum_leaves_what_is_young(run: Run, root: Path) -> None:
    assert run("vacuum", root) == (0, "removed 0 superseded commits and 0 unfinished attempts\n", "")


def test_vacuum_says_what_it_removes(run: Run, root: Path) -> None:
    before = sorted(root.rglob("*"))
    code, planned, _ = run("vacuum", root, "--grace", "0", "--dry-run")
    assert code == 0
    assert sorted(root.rglob("*")) == before
    listed, total = planned.splitlines()
    assert listed.startswith("would remove makini_default/eam/work-orders/data/")
    assert total == "would remove 0 superseded commits and 1 unfinished attempt"
    assert run("vacuum", root, "--grace", "0")[1] == planned.replace("would remove", "removed")
    assert not (root / listed.removeprefix("would remove ")).exists()
    assert len(run("files", root)[1].splitlines()) == 2


# Failures: one sentence, an exit code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: <command>"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["files"], "required: <destination>"),
        (["vacuum", "x", "--grace", "-1"], "argument --grace: '-1' is not a number of hours from 0 on"),
        (["vacuum", "x", "--grace", "nan"], "argument --grace: 'nan' is not a number of hours from 0 on"),
        (["vacuum", "x", "--grace", "day"], "argument --grace: "),
        (["files", "no/such/folder"], "destination 'no/such/folder': there is no such folder."),
        (["streams", ""], "destination is ''."),
        (["streams", "gopher://x/y"], "this Airflow can't open gopher://"),
        (["streams", "file://relative"], "needs an absolute path"),
    ],
)
def test_usage_and_configuration_end_with_2(run: Run, arguments: list[str], message: str) -> None:
    code, printed, errors = run(*arguments)
    assert (code, printed) == (2, "")
    assert message in errors
    assert "Traceback" not in errors


def test_a_folder_where_nothing_has_landed(run: Run, tmp_path: Path) -> None:
    code, printed, errors = run("files", tmp_path)
    assert (code, printed) == (2, "")
    assert errors.startswith(f"no stream has landed at file://{tmp_path}. Give the folder")
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_an_unknown_stream_names_those_that_exist(run: Run, root: Path) -> None:
    code, printed, errors = run("files", root, "makini_default/eam/workorders")
    assert (code, printed) == (2, "")
    assert errors == (
        "there is no stream 'makini_default/eam/workorders'. Did you mean 'makini_default/eam/work-orders'? "
        "There are: Acme/EU@c-1/eam/work-orders/materials, makini_default/eam/work-orders.\n"
    )


def test_words_that_fit_two_streams_ask_for_a_folder(run: Run, tmp_path: Path) -> None:
    land(tmp_path, "1", source=Source("a", "b"))
    land(tmp_path, "1", source=Source("a@b"))
    code, _, errors = run("files", tmp_path, "a@b/eam/work-orders")
    assert code == 0, "it is the one's folder"
    land(tmp_path, "1", source=Source("A", "b"))
    land(tmp_path, "1", source=Source("A@b"))
    code, _, errors = run("files", tmp_path, "A@b/eam/work-orders")
    assert code == 2
    assert "Give one of the folders: %41%40b/eam/work-orders, %41@b/eam/work-orders." in errors


def test_a_commit_that_does_not_parse_ends_with_1(run: Run, root: Path) -> None:
    (commit,) = (root / "makini_default/eam/work-orders/_commits").iterdir()
    commit.write_text("{")
    for command in ("files", "streams", "vacuum"):
        code, printed, errors = run(command, root)
        assert (code, printed) == (1, "")
        assert errors.startswith(
            f"commit file://{root}/makini_default/eam/work-orders/_commits/{commit.name}"
        )
        assert errors.count("\n") == 1


# As a program


def program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [sys.executable, "-m", "makini_provider", *map(str, arguments)],
            env={**os.environ, "AIRFLOW_HOME": home, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.mark.parametrize("command", [[], ["files"], ["streams"], ["vacuum"]])
def test_help_does_not_need_airflow(run: Run, command: list[str], tmp_path: Path) -> None:
    done = program(*command, "--help", AIRFLOW__CORE__EXECUTOR="nonsense", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "usage: python -m makini_provider" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert "airflow" not in imported


def test_its_version() -> None:
    assert program("--version").stdout == f"airflow-provider-makini {__version__}\n"


def test_stdout_is_for_programs(root: Path) -> None:
    """Whatever Airflow has to say, at the most talkative, does not get among the files."""
    done = program("files", root, AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if not Path(line).is_file()] == []
    assert len(done.stdout.splitlines()) == 2


def test_nothing_is_said_on_stderr_when_all_is_well(root: Path) -> None:
    assert program("streams", root).stderr == ""


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    for number in range(3):
        land(tmp_path, str(number))
    process = subprocess.Popen(
        [sys.executable, "-m", "makini_provider", "files", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(30) == 0
