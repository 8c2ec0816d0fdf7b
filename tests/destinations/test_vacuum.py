"""What vacuum removes, and what it must leave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makini_provider.api.errors import CorruptCommitError, MakiniDestinationError
from makini_provider.destinations.files import vacuum as module
from makini_provider.destinations.files.destination import FilesAttempt, FilesDestination, read_commits
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import committed_files, newest_records
from makini_provider.destinations.files.store import Store
from makini_provider.destinations.files.vacuum import Vacuumed, vacuum
from makini_provider.sync.coverage import Commit, Generation, StreamState
from makini_provider.sync.ids import made_at
from makini_provider.sync.streams import Stream
from makini_provider.sync.windows import Window

from .building import DAY, HISTORY, NOW, facts, id_at, kill, land, record, stream

HOUR = timedelta(hours=1)
WORK_ORDERS = stream()
STATUSES = stream("eam/statuses/work-orders")
FOLDER = stream_folder(WORK_ORDERS)


@contextmanager
def clock_at(now: datetime) -> Iterator[None]:
    with patch.object(module.time, "time", now.timestamp):
        yield


def vacuum_at(
    destination: FilesDestination, now: datetime, grace: timedelta = DAY, *, dry_run: bool = False
) -> Vacuumed:
    with clock_at(now):
        return vacuum(destination.store, grace=grace, dry_run=dry_run)


def initial(at: datetime, number: int = 0, *, end: datetime = NOW) -> Generation:
    return Generation(id_at(at, number), HISTORY.start, end, f"run {at}")


def land_at(
    destination: FilesDestination,
    at: datetime,
    generation: Generation,
    window: Window,
    what: Stream = WORK_ORDERS,
) -> Commit:
    about = facts(window, generation=generation, read_at=at)
    return land(destination, what, [(at, [record(str(at), str(at))])], about, commit_id=id_at(at))


def data_folders(root: Path, folder: str = FOLDER) -> set[str]:
    data = root / folder / "data"
    return {path.name for path in data.iterdir()} if data.exists() else set()


def full_refresh(destination: FilesDestination, first: datetime, second: datetime) -> tuple[Commit, Commit]:
    """Two complete initial syncs, at these times."""
    one = land_at(destination, first, initial(first, end=first), Window(HISTORY.start, first))
    return one, land_at(destination, second, initial(second, end=second), Window(HISTORY.start, second))


def test_what_a_full_refresh_has_superseded_goes_after_the_grace_period(
    destination: FilesDestination, root: Path
) -> None:
    old, new = full_refresh(destination, NOW, NOW + 10 * DAY)
    files = committed_files(destination.store, FOLDER)
    removed = vacuum_at(destination, NOW + 12 * DAY)
    (commit,) = removed.commits
    assert old.id in commit
    assert removed.attempts == [f"{FOLDER}/data/{old.id}"]
    assert destination.commits(WORK_ORDERS) == [new]
    assert data_folders(root) == {new.id}
    assert committed_files(destination.store, FOLDER) == files


def test_the_grace_period_counts_from_when_it_was_superseded(destination: FilesDestination) -> None:
    full_refresh(destination, NOW, NOW + 10 * DAY)
    assert vacuum_at(destination, NOW + 10 * DAY + HOUR) == Vacuumed(), "a query may have begun an hour ago"


def test_a_snapshot_that_was_superseded_just_now_stays(destination: FilesDestination) -> None:
    commits = [
        land(
            destination,
            STATUSES,
            [(NOW, [record("OPEN")])],
            facts(None, kind="snapshot", content=str(number)),
            commit_id=id_at(NOW + number * DAY),
        )
        for number in range(3)
    ]
    removed = vacuum_at(destination, NOW + 2 * DAY + HOUR, grace=2 * HOUR)
    assert len(removed.commits) == 1
    assert destination.commits(STATUSES) == commits[1:], "the second was the newest two hours ago"


def test_what_was_seen_in_between_stays(destination: FilesDestination) -> None:
    """A full refresh with other filters was completed and superseded, both within the grace period."""
    half = Window(HISTORY.start, HISTORY.start + 45 * DAY)
    rest = Window(half.end, HISTORY.end)
    narrowed = stream(siteKey="S-1")
    between = initial(NOW + DAY)
    land_at(destination, NOW, initial(NOW), HISTORY)
    first = land_at(destination, NOW + DAY, between, half, narrowed)
    land_at(destination, NOW + 10 * DAY, between, rest, narrowed)
    last = NOW + 10 * DAY + HOUR
    land_at(destination, last, initial(last), HISTORY)
    assert vacuum_at(destination, last + HOUR) == Vacuumed()
    assert first in destination.commits(WORK_ORDERS)
    vacuum_at(destination, last + 2 * DAY)
    assert first not in destination.commits(WORK_ORDERS)


def test_nothing_to_remove(destination: FilesDestination) -> None:
    assert vacuum_at(destination, NOW) == Vacuumed()
    land_at(destination, NOW, initial(NOW), HISTORY)
    assert vacuum_at(destination, NOW + 30 * DAY) == Vacuumed()


def test_a_dry_run_says_the_same_and_removes_nothing(destination: FilesDestination, root: Path) -> None:
    full_refresh(destination, NOW, NOW + 10 * DAY)
    before = sorted(root.rglob("*"))
    planned = vacuum_at(destination, NOW + 12 * DAY, dry_run=True)
    assert sorted(root.rglob("*")) == before
    assert planned == vacuum_at(destination, NOW + 12 * DAY)
    assert planned.commits
    assert planned.attempts


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_killed_task_left_goes_after_the_grace_period(
    destination: FilesDestination, root: Path, committed: bool
) -> None:
    """Also where the task was killed before the stream's first commit."""
    if committed:
        land_at(destination, NOW, initial(NOW), HISTORY)
    killed = destination.begin(WORK_ORDERS)
    killed.id = id_at(NOW + HOUR)
    killed.write([record("1")], NOW)
    kill(killed)
    assert vacuum_at(destination, NOW + 20 * HOUR) == Vacuumed(), "it may still become a commit"
    assert vacuum_at(destination, NOW + 26 * HOUR).attempts == [f"{FOLDER}/data/{killed.id}"]
    assert killed.id not in data_folders(root)


def test_a_commit_that_was_never_finished_goes_too(destination: FilesDestination, root: Path) -> None:
    commit = land_at(destination, NOW, initial(NOW), HISTORY)
    (path,) = (root / FOLDER / "_commits").iterdir()
    temporary = path.with_name(f".{path.name.replace(commit.id, id_at(NOW, 1))}.tmp")
    temporary.write_text("{")
    assert vacuum_at(destination, NOW + HOUR) == Vacuumed()
    assert vacuum_at(destination, NOW + 2 * DAY).attempts == [f"{FOLDER}/_commits/{temporary.name}"]
    assert not temporary.exists()


def test_an_open_initial_sync_keeps_what_it_has(destination: FilesDestination) -> None:
    """However long ago it was: the next try continues it."""
    land_at(destination, NOW, initial(NOW), HISTORY)
    unfinished = initial(NOW + DAY)
    first_day = Window(HISTORY.start, HISTORY.start + DAY)
    land_at(destination, NOW + DAY, unfinished, first_day, stream(siteKey="S-1"))
    assert vacuum_at(destination, NOW + 300 * DAY) == Vacuumed()
    state = StreamState(destination.commits(WORK_ORDERS))
    assert state.open == unfinished
    assert state.unread(unfinished) == [Window(first_day.end, HISTORY.end)]


def test_data_that_snapshots_share_stays_with_the_newest(destination: FilesDestination, root: Path) -> None:
    folder = stream_folder(STATUSES)
    about = facts(None, kind="snapshot", content="a")
    batch = [(NOW, [record("OPEN")])]
    first = land(destination, STATUSES, batch, about, commit_id=id_at(NOW))
    land(destination, STATUSES, batch, about, commit_id=id_at(NOW + DAY), same_data_as=first)
    newest = land(destination, STATUSES, batch, about, commit_id=id_at(NOW + 2 * DAY), same_data_as=first)
    removed = vacuum_at(destination, NOW + 9 * DAY)
    assert len(removed.commits) == 2
    assert removed.attempts == []
    assert destination.commits(STATUSES) == [newest]
    assert data_folders(root, folder) == {first.id}
    assert len(list(newest_records(destination.store, folder))) == 1


def test_strange_folders_are_left_alone(destination: FilesDestination, root: Path) -> None:
    land_at(destination, NOW, initial(NOW), HISTORY)
    strangers = [
        root / "notes.txt",
        root / "a" / "b",
        root / FOLDER / "data" / "mine" / "x",
        root / FOLDER / "y",
        root / FOLDER / "_commits" / ".mine.json.tmp",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert vacuum_at(destination, NOW + 900 * DAY) == Vacuumed()
    assert all(path.exists() for path in strangers)


def test_nothing_of_a_stream_goes_while_one_of_its_commits_is_unreadable(
    destination: FilesDestination, root: Path
) -> None:
    full_refresh(destination, NOW, NOW + 10 * DAY)
    for path in (root / FOLDER / "_commits").iterdir():
        path.write_text("{")
    with pytest.raises(CorruptCommitError):
        vacuum_at(destination, NOW + 30 * DAY)
    assert len(data_folders(root)) == 2


# A grace period that is too short


def written(destination: FilesDestination) -> FilesAttempt:
    """Records that wait for their commit."""
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    return attempt


class HookedStore(Store):
    """Does something right after the first file that it writes."""

    def __init__(self, store: Store, then: Callable[[], object]) -> None:
        super().__init__(store.root)
        self._then: Callable[[], object] | None = then

    def put(self, name: str, content: bytes) -> None:
        super().put(name, content)
        then, self._then = self._then, None
        if then is not None:
            then()


def test_removed_under_its_writer_it_is_not_committed(destination: FilesDestination) -> None:
    attempt = written(destination)
    vacuum(destination.store, grace=timedelta(0))
    with pytest.raises(MakiniDestinationError, match="was removed while a task was writing it") as caught:
        attempt.commit(facts())
    assert caught.value.retryable
    assert destination.commits(WORK_ORDERS) == []


def test_a_commit_beside_its_announced_removal_is_kept(destination: FilesDestination, root: Path) -> None:
    """The writer was faster than the mark: vacuum looks again, and sees the commit."""
    attempt = written(destination)
    attempt._close_part()
    with patch.object(FilesAttempt, "_check_data"):
        store = HookedStore(destination.store, lambda: attempt.commit(facts()))
        assert vacuum(store, grace=timedelta(0)) == Vacuumed()
    assert len(list(newest_records(destination.store, FOLDER))) == 1
    assert [path.name for path in (root / FOLDER / "data" / attempt.id).iterdir()] == ["part-00000.jsonl.gz"]


def test_a_removal_announced_beside_the_commit_takes_it_back(destination: FilesDestination) -> None:
    attempt = written(destination)
    mark = f"{FOLDER}/data/{attempt.id}/_doomed-{attempt.id}"
    attempt._store = HookedStore(destination.store, lambda: destination.store.put(mark, b""))
    with pytest.raises(MakiniDestinationError, match="was removed"):
        attempt.commit(facts())
    assert destination.commits(WORK_ORDERS) == []


def test_a_snapshot_whose_twin_has_gone_keeps_its_own_data(destination: FilesDestination, root: Path) -> None:
    folder = stream_folder(STATUSES)
    about = facts(None, kind="snapshot", content="a")
    first = land(destination, STATUSES, [(NOW, [record("OPEN")])], about)
    shutil.rmtree(root / folder / "data" / first.id)
    second = land(destination, STATUSES, [(NOW, [record("OPEN")])], about, same_data_as=first)
    assert data_folders(root, folder) == {second.id}
    assert len(list(newest_records(destination.store, folder))) == 1


def test_two_vacuums_at_once(destination: FilesDestination) -> None:
    killed = destination.begin(WORK_ORDERS)
    killed.write([record("1")], NOW)
    kill(killed)
    store = HookedStore(destination.store, lambda: vacuum(destination.store, grace=timedelta(0)))
    vacuum(store, grace=timedelta(0))
    assert destination.store.names(f"{FOLDER}/data") == []


# Any history

steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "refresh",
                "part",
                "part",
                "part",
                "incremental",
                "incremental",
                "killed",
                "events",
                "tombstones",
            ]
        ),
        st.integers(1, 30).map(lambda hours: timedelta(hours=hours)),
    ),
    min_size=1,
    max_size=14,
)


def play(destination: FilesDestination, history: list[tuple[str, timedelta]], kind: str) -> datetime:
    """Let things happen to a stream; the time at which all of it has."""
    what = WORK_ORDERS if kind == "window" else STATUSES
    at, opened, done, watermark = NOW, None, 0, NOW
    for number, (event, pause) in enumerate(history):
        at += pause
        attempt = destination.begin(what)
        attempt.id = id_at(at, number)
        attempt.write([record(f"{number % 5}", str(at), n=number)], at)
        if event == "killed":
            kill(attempt)
            continue
        if event in ("events", "tombstones") and opened is not None:
            attempt.commit(facts(None, kind=event, generation=opened, read_at=at))
            continue
        if opened is None or event == "refresh":
            opened, done, watermark = initial(at, number, end=at), 0, at
        if kind == "snapshot":
            content = str(number // 3)
            attempt.commit(facts(None, kind="snapshot", generation=opened, read_at=at, content=content))
            continue
        if event == "incremental" and done == 3:
            window = Window(watermark - HOUR, at)
            watermark = at
        else:
            # An initial sync of three parts; more of them read the last part again.
            third = (opened.end - opened.start) / 3
            part = min(done, 2)
            end = opened.end if part == 2 else opened.start + (part + 1) * third
            window = Window(opened.start + part * third, end)
            done = min(done + 1, 3)
        attempt.commit(facts(window, generation=opened, read_at=at))
    return at


def visible_files(commits: list[Commit]) -> set[str]:
    return {file.path for commit in StreamState(commits).visible for file in commit.files}


def tombstones(destination: FilesDestination, folder: str) -> list[str]:
    state = StreamState(read_commits(destination.store, folder))
    return [file.path for commit in state.with_tombstones for file in commit.files]


def what_matters(destination: FilesDestination, what: Stream) -> list[object]:
    state = StreamState(destination.commits(what))
    unread = state.unread(state.open) if state.open else []
    folder = stream_folder(what)
    records = sorted(newest_records(destination.store, folder))
    files = [*committed_files(destination.store, folder), *tombstones(destination, folder)]
    return [records, files, state.watermark, state.coverage, unread]


@settings(max_examples=60, deadline=None)
@given(
    steps,
    st.sampled_from(["window", "window", "snapshot"]),
    st.integers(0, 60).map(lambda hours: timedelta(hours=hours)),
    st.integers(0, 60).map(lambda hours: timedelta(hours=hours)),
)
def test_no_reader_and_no_sync_notices(
    history: list[tuple[str, timedelta]], kind: str, pause: timedelta, grace: timedelta
) -> None:
    what = WORK_ORDERS if kind == "window" else STATUSES
    folder = stream_folder(what)
    with tempfile.TemporaryDirectory() as root:
        destination = FilesDestination(f"file://{root}", compression="none")
        now = play(destination, history, kind) + pause
        commits = read_commits(destination.store, folder)
        before = what_matters(destination, what)
        all_data = data_folders(Path(root), folder)

        vacuum_at(destination, now, grace)

        assert what_matters(destination, what) == before
        # A reader that listed the commits at any moment of the grace period still finds its files.
        begins = (now - grace).timestamp()
        moments = [begins, *(made_at(c.id) for c in commits if made_at(c.id) >= begins)]
        for moment in moments:
            for file in visible_files([c for c in commits if made_at(c.id) <= moment]):
                assert (Path(root) / folder / file).exists()
        # A commit never names data that is gone.
        left = read_commits(destination.store, folder)
        named = {file.path.split("/")[1] for commit in left for file in commit.files}
        assert named <= data_folders(Path(root), folder)
        # What no commit ever named is gone, unless it is young.
        never_named = all_data - {file.path.split("/")[1] for commit in commits for file in commit.files}
        old = {name for name in never_named if made_at(name) < begins}
        assert not old & data_folders(Path(root), folder)
        # Nothing is left for a second time.
        assert vacuum_at(destination, now, grace) == Vacuumed()
