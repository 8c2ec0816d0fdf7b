"""Removing what no reader needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from makini_provider.destinations.files.destination import read_commits, stream_folders
from makini_provider.destinations.files.layout import COMMITS, DATA, commit_name, parse_commit_name
from makini_provider.destinations.files.store import Store
from makini_provider.sync.coverage import Commit, StreamState
from makini_provider.sync.ids import made_at


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
        attempts = [name for name in store.names(f"{folder}/{DATA}") if _older(name, before)]
        state = StreamState(read_commits(store, folder))
        needed = _needed(state, before)
        commits = [
            f"{folder}/{COMMITS}/{commit_name(commit.covered, commit.id)}"
            for commit in state.commits
            if commit.id not in needed
        ]
        named = {file.path.split("/")[1] for c in state.commits if c.id in needed for file in c.files}
        unnamed = [f"{folder}/{DATA}/{attempt}" for attempt in attempts if attempt not in named]
        unnamed += _unfinished(store, f"{folder}/{COMMITS}", before)
        removed.commits += commits
        removed.attempts += unnamed
        if not dry_run:
            # Commits first, so that none ever names data that is gone.
            for name in (*commits, *unnamed):
                store.remove(name)
    return removed


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
        _, commit_id = parse_commit_name(name.removeprefix(".").removesuffix(".tmp"))
        if _older(commit_id, before):
            yield f"{folder}/{name}"


def _older(identifier: str, before: float) -> bool:
    try:
        return made_at(identifier) < before
    except ValueError:
        return False
