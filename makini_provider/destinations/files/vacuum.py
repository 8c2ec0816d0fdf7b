"""Removing what no reader needs any more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from makini_provider.destinations.files.destination import read_commits, streams_of
from makini_provider.destinations.files.layout import COMMITS, DATA, commit_name
from makini_provider.destinations.files.store import Store
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.ids import made_at


@dataclass(slots=True)
class Vacuumed:
    """What was removed.

    :param commits: commits that others have superseded
    :param attempts: data folders that no commit names
    """

    commits: int = 0
    attempts: int = 0


def vacuum(store: Store, *, grace: timedelta, dry_run: bool = False) -> Vacuumed:
    """Remove superseded commits, and attempts that no commit names.

    What is younger than the grace period stays: such an attempt may still become a commit, and a reader may
    still be reading the files of a commit that was superseded since.

    :param store: the destination
    :param grace: must be longer than the longest sync, and than the longest query on the files
    :param dry_run: only count
    :return: what was removed
    """
    before = time.time() - grace.total_seconds()
    removed = Vacuumed()
    for folder in streams_of(store):
        # Data first: an attempt that commits in between is in the commits that are read after.
        attempts = [name for name in store.names(f"{folder}/{DATA}") if _older(name, before)]
        state = StreamState(read_commits(store, folder))
        keep = {commit.id for commit in state.visible}
        keep |= {c.id for c in state.commits if state.open and c.generation.id == state.open.id}
        live = [c for c in state.commits if c.id in keep or not _older(c.id, before)]
        for commit in state.commits:
            if commit not in live:
                removed.commits += 1
                if not dry_run:
                    store.remove(f"{folder}/{COMMITS}/{commit_name(commit.covered, commit.id)}")
        named = {file.path.split("/")[1] for commit in live for file in commit.files}
        for attempt in attempts:
            if attempt not in named:
                removed.attempts += 1
                if not dry_run:
                    store.remove(f"{folder}/{DATA}/{attempt}")
    return removed


def _older(identifier: str, before: float) -> bool:
    try:
        return made_at(identifier) < before
    except ValueError:
        return False
