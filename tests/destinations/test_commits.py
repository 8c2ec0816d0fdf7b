"""Writing: data first, then one commit; all or nothing, whatever happens in between."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from makini_provider.api.errors import (
    CorruptCommitError,
    FingerprintError,
    MakiniConfigurationError,
    MakiniDestinationError,
)
from makini_provider.api.records import Record, parse_record
from makini_provider.destinations.files import destination as module
from makini_provider.destinations.files.destination import FilesDestination, read_commits, streams_of
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import committed_files, newest_records, stream_state
from makini_provider.sync.coverage import StreamState

from .building import HISTORY, NOW, facts, land, record, stream

WORK_ORDERS = stream()
FOLDER = stream_folder(WORK_ORDERS)
HERE = Path(__file__).parent


def keys(destination: FilesDestination) -> list[str]:
    return sorted(json.loads(raw)["key"] for raw in newest_records(destination.store, FOLDER))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def the_commit(root: Path) -> Path:
    (path,) = (root / FOLDER / "_commits").glob("*.json")
    return path


# What is written


def test_an_empty_destination_holds_nothing(destination: FilesDestination) -> None:
    assert list(destination.commits(WORK_ORDERS)) == []
    assert list(streams_of(destination.store)) == []
    assert list(newest_records(destination.store, FOLDER)) == []


def test_records_and_coverage_come_back_as_they_were_committed(destination: FilesDestination) -> None:
    later = NOW + timedelta(minutes=1)
    written = land(
        destination, WORK_ORDERS, [(NOW, [record("1"), record("2")]), (later, [record("3")])], facts()
    )
    assert destination.commits(WORK_ORDERS) == [written]
    assert written.records == 3
    assert written.files[0].reads == [(0, NOW), (2, later)]
    assert stream_state(destination.store, FOLDER).coverage == [HISTORY]
    assert keys(destination) == ["1", "2", "3"]
    assert list(streams_of(destination.store)) == [FOLDER]


def test_nothing_shows_before_the_commit(destination: FilesDestination, root: Path) -> None:
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    assert attempt.records == 1
    assert destination.commits(WORK_ORDERS) == []
    assert committed_files(destination.store, FOLDER) == []
    attempt.commit(facts())
    assert keys(destination) == ["1"]


def test_a_window_without_records_is_covered_without_a_file(
    destination: FilesDestination, root: Path
) -> None:
    commit = land(destination, WORK_ORDERS, [], facts())
    assert commit.files == []
    assert len(files_below(root)) == 1
    assert stream_state(destination.store, FOLDER).watermark == HISTORY.end


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_line_is_the_records_own_bytes(root: Path, compression: str) -> None:
    raws = [b'{"key":"1" ,  "name":"Pumpe \xc3\xa9 \\u00e9","n":1.00}', b'{"key":"2","updatedAt":null}']
    destination = FilesDestination(f"file://{root}", compression=compression)
    records = [parse_record(raw, "updatedAt") for raw in raws]
    commit = land(destination, WORK_ORDERS, [(NOW, records)], facts())
    assert list(newest_records(destination.store, FOLDER)) == raws
    assert commit.files[0].bytes == sum(len(raw) + 1 for raw in raws)
    if compression == "none":
        assert (root / FOLDER / commit.files[0].path).read_bytes() == b"".join(raw + b"\n" for raw in raws)


def test_gzip_files_are_the_same_for_the_same_records(root: Path) -> None:
    contents = set()
    for name in ("a", "b"):
        destination = FilesDestination(f"file://{root}/{name}")
        commit = land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
        contents.add((root / name / FOLDER / commit.files[0].path).read_bytes())
    assert len(contents) == 1
    assert gzip.decompress(contents.pop()) == record("1").raw + b"\n"


def test_zstd_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MakiniConfigurationError, match=r"airflow-provider-makini\[zstd\]"):
        FilesDestination(f"file://{root}", compression="zstd")


def test_large_attempts_are_split_into_parts(
    destination: FilesDestination, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 300)
    reads = [(NOW + timedelta(seconds=n), [record(f"{n}{m}") for m in range(3)]) for n in range(5)]
    commit = land(destination, WORK_ORDERS, reads, facts())
    assert len(commit.files) > 1
    assert [file.path.rsplit("/", 1)[1] for file in commit.files] == [
        f"part-{number:05d}.jsonl.gz" for number in range(len(commit.files))
    ]
    assert sum(file.records for file in commit.files) == commit.records == 15
    assert keys(destination) == sorted(f"{n}{m}" for n in range(5) for m in range(3))


def test_a_snapshot_that_has_not_changed_names_the_data_that_is_there(
    destination: FilesDestination, root: Path
) -> None:
    statuses = stream("eam/statuses/work-orders")
    about = facts(None, kind="snapshot", content="digest")
    first = land(destination, statuses, [(NOW, [record("OPEN")])], about)
    second = land(destination, statuses, [(NOW, [record("OPEN")])], about, same_data_as=first)
    assert second.files == first.files
    assert second.records == 1
    folder = stream_folder(statuses)
    assert len(files_below(root / folder / "data")) == 1
    assert committed_files(destination.store, folder) == [f"{folder}/{first.files[0].path}"]


def test_only_the_newest_snapshot_counts(destination: FilesDestination) -> None:
    statuses = stream("eam/statuses/work-orders")
    for content in ("a", "b"):
        land(destination, statuses, [(NOW, [record(content)])], facts(None, kind="snapshot", content=content))
    (raw,) = newest_records(destination.store, stream_folder(statuses))
    assert json.loads(raw)["key"] == "b", "a record that is gone from the list is gone here"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_discarded_attempt_leaves_nothing(root: Path, compression: str) -> None:
    destination = FilesDestination(f"file://{root}", compression=compression)
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    attempt.discard()
    attempt.discard()
    assert files_below(root) == []
    assert list((root / FOLDER / "data").iterdir()) == []


def test_discarding_after_the_commit_does_nothing(destination: FilesDestination) -> None:
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    attempt.commit(facts())
    attempt.discard()
    assert keys(destination) == ["1"]


# Killed at any moment

KILLED = """
import os, sys
from destinations.building import NOW, facts, land, record, stream
from makini_provider.destinations.files.destination import FilesDestination

def kill_before(step):
    # Every change of the file system in Python is announced here, except for fsync.
    steps = 0
    def announced(event, arguments=()):
        nonlocal steps
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "fsync"):
            steps += 1
            if steps == step:
                os._exit(9)
    sync = os.fsync
    os.fsync = lambda descriptor: (announced("fsync"), sync(descriptor))
    sys.addaudithook(announced)

code, step = 9, 0
while code == 9:
    step += 1
    destination = FilesDestination(f"file://{sys.argv[1]}/{step:03d}")
    land(destination, stream(), [(NOW, [record("before")])], facts())
    child = os.fork()
    if not child:
        kill_before(step)
        land(destination, stream(), [(NOW, [record("after")])], facts())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(step, code)
"""


def in_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which can import these helpers."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_writer_killed_between_any_two_steps_leaves_all_or_nothing(tmp_path: Path) -> None:
    done = in_python(KILLED, tmp_path)
    assert done.returncode == 0, done.stderr
    steps, code = map(int, done.stdout.split())
    assert code == 0
    assert steps > 10, "so many moments were tried"
    seen = []
    for step in range(1, steps + 1):
        destination = FilesDestination(f"file://{tmp_path}/{step:03d}")
        seen.append(keys(destination))
        if len(destination.commits(WORK_ORDERS)) == 1:
            land(destination, WORK_ORDERS, [(NOW, [record("after")])], facts())
            assert keys(destination) == ["after", "before"], "the next try is not in its way"
    moments = [["before"]] * seen.count(["before"]) + [["after", "before"]] * seen.count(["after", "before"])
    assert seen == moments, "first nothing of it, then all of it"
    assert len(seen[0]) < len(seen[-1])


def test_the_data_is_on_disk_before_its_commit(
    destination: FilesDestination, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination.commits(WORK_ORDERS)
    happened: list[int | str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        happened.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        happened.append(path.stat().st_ino)
        happened.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    commit = land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())

    folder = root / FOLDER
    data = folder / commit.files[0].path
    before = happened[: happened.index("renamed")]
    after = happened[happened.index("renamed") :]
    for path in (data, data.parent, data.parents[1], folder, folder.parent, root):
        assert path.stat().st_ino in before, f"{path} was not synced before the commit"
    assert before.count(the_commit(root).stat().st_ino) == 2, "the temporary file: synced, then renamed"
    assert (folder / "_commits").stat().st_ino in after, "the commit's name is on disk as well"


def test_a_commit_that_can_not_be_written_leaves_no_temporary_file(
    destination: FilesDestination, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(
        MakiniDestinationError, match=r"No space left on device\. What has landed is untouched"
    ):
        attempt.commit(facts())
    attempt.discard()
    assert files_below(root / FOLDER / "_commits") == []
    # Where an error comes back the commit may be there all the same: its data is vacuum's.
    assert destination.commits(WORK_ORDERS) == []
    assert len(files_below(root)) == 1


def test_a_folder_that_can_not_be_synced_is_no_obstacle(
    destination: FilesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    assert keys(destination) == ["1"]


# Commits that can't be trusted


def spoil(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("20260801", "20260802")))


def foreign(path: Path) -> None:
    path.with_name("notes.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (cut, "truncated"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (lambda path: path.write_text("[]"), "Expected `object`"),
        (spoil(lambda c: c.pop("files")), "missing required field `files`"),
        (spoil(lambda c: c.update(format_version=2)), "a newer version of this provider wrote it"),
        (spoil(lambda c: c.update(id="x")), "its name does not fit its content"),
        (spoil(lambda c: c["covered"].update(end="2026-08-02T00:00:00Z")), "its name does not fit"),
        (spoil(lambda c: c["window"].update(end=c["window"]["start"])), "is empty or reversed"),
        (renamed, "its name does not fit its content"),
        (foreign, "its name is not that of a commit"),
    ],
)
def test_a_commit_that_does_not_parse_stops_everything_and_says_what_to_do(
    destination: FilesDestination, root: Path, spoilt: Callable[[Path], None], why: str
) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    spoilt(the_commit(root))
    for read in (lambda: destination.commits(WORK_ORDERS), lambda: keys(destination)):
        with pytest.raises(CorruptCommitError) as caught:
            read()
        message = str(caught.value)
        assert f"{root}/{FOLDER}/_commits/" in message
        assert why in message
        assert "Restore the file, or move it away" in message
        assert not caught.value.retryable


def test_other_streams_are_not_touched_by_a_bad_commit(destination: FilesDestination, root: Path) -> None:
    land(destination, WORK_ORDERS, [], facts())
    cut(the_commit(root))
    assets = stream("eam/assets")
    land(destination, assets, [(NOW, [record("1")])], facts())
    assert len(destination.commits(assets)) == 1


def test_another_fingerprint_is_refused_by_name(destination: FilesDestination) -> None:
    land(destination, WORK_ORDERS, [], facts())
    narrowed = stream(siteKey="S-1")
    state = StreamState(destination.commits(narrowed))
    with pytest.raises(
        FingerprintError, match=r"filters was \{\} and is now \{'siteKey': 'S-1'\}.*full_refresh"
    ):
        state.check_fingerprint(narrowed)


def test_a_temporary_file_is_never_listed(destination: FilesDestination, root: Path) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    commit = the_commit(root)
    commit.with_name(f".{commit.name}.tmp").write_text("{")
    assert keys(destination) == ["1"]


def test_a_reader_lists_again_when_vacuum_was_faster(
    destination: FilesDestination, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    kept = land(destination, WORK_ORDERS, [(NOW, [record("2")])], facts())
    read_all = type(destination.store).read_all
    listings = []

    def meanwhile(store: Any, folder: str, names: list[str]) -> dict[str, bytes | None]:
        listings.append(names)
        if len(listings) == 1:
            (root / folder / names[0]).unlink()
        return read_all(store, folder, names)

    monkeypatch.setattr(type(destination.store), "read_all", meanwhile)
    assert read_commits(destination.store, FOLDER) == [kept]
    assert [len(names) for names in listings] == [2, 1]


def test_a_commit_that_is_listed_and_never_there_is_an_error(
    destination: FilesDestination, root: Path
) -> None:
    land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    commit = the_commit(root)
    commit.rename(root / "away")
    commit.symlink_to(root / "nowhere")
    with pytest.raises(MakiniDestinationError, match=r"is listed, and can't be found"):
        destination.commits(WORK_ORDERS)


# Data files that can't be trusted


def test_a_missing_data_file_is_named(destination: FilesDestination, root: Path) -> None:
    commit = land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    (root / FOLDER / commit.files[0].path).unlink()
    with pytest.raises(MakiniDestinationError, match=r"can't read .*part-00000\.jsonl\.gz: No such file"):
        keys(destination)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_damaged_data_file_is_named(root: Path, compression: str) -> None:
    destination = FilesDestination(f"file://{root}", compression=compression)
    commit = land(destination, WORK_ORDERS, [(NOW, [record(str(n)) for n in range(50)])], facts())
    path = root / FOLDER / commit.files[0].path
    line_end = path.read_bytes().rfind(b"\n", 0, -1) + 1
    path.write_bytes(path.read_bytes()[: line_end if compression == "none" else -12])
    with pytest.raises(MakiniDestinationError, match=r"part-00000\.jsonl"):
        keys(destination)


# Places that can't be used


@pytest.mark.parametrize(
    "file", ["landing", "landing/acme", f"landing/{FOLDER}", f"landing/{FOLDER}/_commits"]
)
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, destination: FilesDestination, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("something else")
    with pytest.raises(MakiniConfigurationError) as caught:
        destination.commits(WORK_ORDERS)
    assert "can't write" in str(caught.value)
    assert str(tmp_path / "landing") in str(caught.value)
    assert "name another one" in str(caught.value)
    assert path.read_text() == "something else"


def test_a_folder_that_can_not_be_made() -> None:
    destination = FilesDestination("file:///proc/makini")
    with pytest.raises(MakiniConfigurationError, match="can't write /proc/makini"):
        destination.commits(WORK_ORDERS)


READ_ONLY = """
import os, sys
from destinations.building import stream
from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.destinations.files.destination import FilesDestination

destination = FilesDestination(f"file://{sys.argv[1]}")
if os.getuid() == 0:
    os.setuid(65534)
try:
    destination.commits(stream())
except MakiniConfigurationError as error:
    print(error)
"""


def test_a_read_only_folder(root: Path) -> None:
    (root / FOLDER / "_commits").mkdir(parents=True)
    (root / FOLDER / "_commits").chmod(0o555)
    done = in_python(READ_ONLY, root)
    assert "can't write" in done.stdout, done.stderr
    assert "Permission denied" in done.stdout
    assert "Give the user or role that Airflow's tasks run as access" in done.stdout


# Many writers

WRITER = """
import sys
from destinations.building import NOW, facts, land, record, stream
from makini_provider.destinations.files.destination import FilesDestination

destination = FilesDestination(f"file://{sys.argv[1]}")
for number in range(10):
    land(destination, stream(), [(NOW, [record(f"{sys.argv[2]}-{number}")])], facts())
    destination.commits(stream())
"""


def test_writers_in_threads_lose_nothing(destination: FilesDestination) -> None:
    def write(number: int) -> None:
        land(destination, WORK_ORDERS, [(NOW, [record(f"{number:02d}")])], facts())
        destination.commits(WORK_ORDERS)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(40)))
    assert keys(destination) == [f"{number:02d}" for number in range(40)]


def test_writers_in_processes_lose_nothing(destination: FilesDestination, root: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        for done in threads.map(lambda name: in_python(WRITER, root, name), ["a", "b"]):
            assert done.returncode == 0, done.stderr
    assert keys(destination) == sorted(f"{name}-{number}" for name in "ab" for number in range(10))


def test_memory_does_not_grow_with_the_records(destination: FilesDestination) -> None:
    """A generator of batches goes through; nothing of it is held."""

    def batches() -> Any:
        for number in range(200):
            yield NOW, [Record(None, None, b'{"n":%d,"pad":"%s"}' % (number, b"x" * 10_000))] * 10

    import tracemalloc

    tracemalloc.start()
    land(destination, WORK_ORDERS, batches(), facts())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000, "20 MB went through"
