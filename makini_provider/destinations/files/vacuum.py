"""Removing what no reader needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from makini_provider.api.errors import MakiniDestinationError
from makini_provider.destinations.files.destination import read_commits, stream_folders
from makini_provider.destinations.files.layout import COMMITS, DATA, DOOMED, commit_name, parse_commit_name
from makini_provider.destinations.files.store import Store
from makini_provider.sync.coverage import Commit, StreamState
from makini_provider.sync.ids import made_at, new_id


@dataclass(slots=True)
class Vacuumed:
    """What was removed, as paths below the destination.

    :param commits: commits that others have superseded
    :param attempts: folders of data that no commit names, and commits that were never finished
    """

    commits: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)


def vacuum(store: Store, *, grace: timedelta, dry_run: bool = False) -> Vacuumed:
    """Remove superseded commits, and attempts that no commit names.

    What is younger than the grace period stays, and so does what was superseded within it: such an attempt
    may still become a commit, and a reader may still be reading the files.

    :param store: the destination
    :param grace: must be longer than the longest sync, and than the longest query on the files
    :param dry_run: only say what would be removed
    :return: what was removed
    :raises CorruptCommitError: a commit does not parse; of its stream nothing was removed
    """
    before = time.time() - grace.total_seconds()
    removed = Vacuumed()
    for folder in stream_folders(store):
        # Data first: an attempt that commits in between is in the commits that are read after.
        attempts = [
            f"{folder}/{DATA}/{name}" for name in store.names(f"{folder}/{DATA}") if _older(name, before)
        ]
        commits, needed = _superseded(store, folder, before)
        doomed = [attempt for attempt in attempts if attempt not in needed]
        if doomed and not dry_run:
            # Announced, and looked again: whoever commits one of them now, sees that or is seen.
            # Each vacuum has a mark of its own: taking it back must not take back another's.
            mark = f"{DOOMED}{new_id()}"
            doomed = [attempt for attempt in doomed if _mark(store, attempt, mark)]
            commits, needed = _superseded(store, folder, before)
            for attempt in needed.intersection(doomed):
                store.remove(f"{attempt}/{mark}")
            doomed = [attempt for attempt in doomed if attempt not in needed]
        unfinished = list(_unfinished(store, f"{folder}/{COMMITS}", before))
        removed.commits += commits
        removed.attempts += [*doomed, *unfinished]
        if not dry_run:
            # Commits first, so that none ever names data that is gone.
            for name in (*commits, *unfinished):
                store.remove(name)
            for name in doomed:
                _remove_attempt(store, name)
    return removed


def _mark(store: Store, attempt: str, mark: str) -> bool:
    """Announce that a folder of data will be removed; false where it is gone already."""
    try:
        store.put(f"{attempt}/{mark}", b"")
    except MakiniDestinationError:
        # Another vacuum, or the task itself, was faster.
        if store.names(attempt):
            raise
        return False
    return True


def _remove_attempt(store: Store, name: str) -> None:
    """Remove a folder of data, the marks last: what they stand for holds until the data is gone."""
    for part in store.names(name):
        if not part.startswith(DOOMED):
            store.remove(f"{name}/{part}")
    store.remove(name)


def _superseded(store: Store, folder: str, before: float) -> tuple[list[str], set[str]]:
    """The commits of a stream that nobody needs any more, and the folders of data that others name."""
    state = StreamState(read_commits(store, folder))
    needed = _needed(state, before)
    superseded = [
        f"{folder}/{COMMITS}/{commit_name(commit.covered, commit.id)}"
        for commit in state.commits
        if commit.id not in needed
    ]
    named = {
        f"{folder}/{file.path.rpartition('/')[0]}"
        for commit in state.commits
        if commit.id in needed
        for file in commit.files
    }
    return superseded, named


def _needed(state: StreamState, before: float) -> set[str]:
    """The commits that a reader sees, or has seen since ``before``, or that a sync builds on."""
    then = StreamState(commit for commit in state.commits if _older(commit.id, before))
    if (then.current or then.open) != (state.current or state.open):
        # Another initial sync has become what readers see: its forerunner goes when that is old news.
        return {commit.id for commit in state.commits}
    needed: list[Commit] = [*state.visible, *then.visible]
    needed += [c for c in state.commits if state.open and c.generation.id == state.open.id]
    needed += [c for c in state.commits if not _older(c.id, before)]
    return {commit.id for commit in needed}


def _unfinished(store: Store, folder: str, before: float) -> Iterator[str]:
    for name in store.names(folder, suffix=".json.tmp", hidden=True):
        try:
            _, commit_id = parse_commit_name(name.removeprefix(".").removesuffix(".tmp"))
        except ValueError:
            continue  # somebody else's
        if _older(commit_id, before):
            yield f"{folder}/{name}"


def _older(identifier: str, before: float) -> bool:
    try:
        return made_at(identifier) < before
    except ValueError:
        return False
