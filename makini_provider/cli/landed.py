"""The commands about a destination: which files count, which streams there are, and what can go."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.records import format_instant

if TYPE_CHECKING:
    from makini_provider.destinations.files.store import Store
    from makini_provider.sync.coverage import Commit, DataFile, StreamState

_DESTINATION = "the folder where records land: a URI as in MAKINI_DESTINATION, or a local path"
_STREAM = "<source>/<domain>/<resource>, such as makini_default/eam/work-orders (default: all)"


def add_commands(commands: Any) -> None:
    """Add the commands to a parser.

    :param commands: what ``ArgumentParser.add_subparsers`` returned
    """
    files = _add(commands, "files", "list the data files that count, one a line", _files)
    files.add_argument("stream", nargs="?", metavar="<stream>", help=_STREAM)
    what = files.add_mutually_exclusive_group()
    what.add_argument("--tombstones", action="store_true", help="list those that say which records are gone")
    what.add_argument("--json", action="store_true", help="one JSON document that tells more")
    _add(commands, "streams", "show the streams in a table", _streams)
    vacuum = _add(commands, "vacuum", "remove what no reader needs any more", _vacuum)
    vacuum.add_argument(
        "--grace",
        type=_hours,
        default=24.0,
        metavar="HOURS",
        help="keep what is younger, or was superseded since; must be longer than the longest sync and the "
        "longest query on the files (default: 24)",
    )
    vacuum.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def _add(commands: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what.capitalize()}."
    )
    parser.add_argument("destination", metavar="<destination>", help=_DESTINATION)
    parser.set_defaults(run=run)
    return parser


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours from 0 on")
    return hours


# The commands


def _files(arguments: argparse.Namespace) -> list[str]:
    store = _open(arguments.destination)
    folders = _streams_at(store)
    if arguments.stream is not None:
        folders = [_find(arguments.stream, folders)]
    if arguments.json:
        document = {"destination": str(store), "streams": [_describe(store, folder) for folder in folders]}
        return [json.dumps(document, indent=2)]
    return [
        store.uri(f"{folder}/{file.path}")
        for folder in folders
        for file in _chosen_files(_state(store, folder), tombstones=arguments.tombstones)
    ]


def _streams(arguments: argparse.Namespace) -> list[str]:
    from makini_provider.destinations.files.layout import folder_name

    store = _open(arguments.destination)
    rows = [("stream", "records*", "files", "watermark")]
    for folder in _streams_at(store):
        state = _state(store, folder)
        files = list(_data_files(state.with_records))
        records = sum(file.records for file in files)
        rows.append(
            (
                folder_name(folder),
                f"{records:,}",
                f"{len(files):,}",
                _instant(state.watermark) or "none: the initial sync is not completed",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        *(f"{name:{widths[0]}}  {records:>{widths[1]}}  {files:>{widths[2]}}  {watermark}"
          for name, records, files, watermark in rows),
        "",
        "* committed records: a record that was read twice, or changed, counts each time",
    ]  # fmt: skip


def _vacuum(arguments: argparse.Namespace) -> list[str]:
    from makini_provider.destinations.files.vacuum import vacuum

    store = _open(arguments.destination)
    found = vacuum(store, grace=timedelta(hours=arguments.grace), dry_run=arguments.dry_run)
    done = "would remove" if arguments.dry_run else "removed"
    commits = _count(len(found.commits), "superseded commit")
    attempts = _count(len(found.attempts), "unfinished attempt")
    return [
        *(f"{done} {name}" for name in (*found.commits, *found.attempts)),
        f"{done} {commits} and {attempts}",
    ]


# What they share


def _open(destination: str) -> Store:
    from makini_provider.destinations.files.store import open_store
    from makini_provider.destinations.uri import check_destination

    if "://" not in destination and destination:
        path = Path(destination).expanduser().absolute()
        if not path.is_dir():
            raise MakiniConfigurationError(f"destination {destination!r}: there is no such folder.")
        destination = f"file://{path.resolve()}"
    check_destination(destination)
    return open_store(destination.rstrip("/"))


def _streams_at(store: Store) -> list[str]:
    from makini_provider.destinations.files.destination import streams_of

    folders = list(streams_of(store))
    if not folders:
        raise MakiniConfigurationError(
            f"no stream has landed at {store}.",
            remedy="Give the folder that the syncs have as their destination (MAKINI_DESTINATION).",
        )
    return folders


def _find(wanted: str, folders: list[str]) -> str:
    """The folder of a stream, which may be given as the folder itself or in words."""
    from makini_provider.destinations.files.layout import folder_name

    if wanted in folders:
        return wanted
    names = {folder: folder_name(folder) for folder in folders}
    found = [folder for folder, name in names.items() if name == wanted.strip("/")]
    if len(found) == 1:
        return found[0]
    if found:
        raise MakiniConfigurationError(
            f"stream {wanted!r} could be several.", remedy=f"Give one of the folders: {', '.join(found)}."
        )
    near = difflib.get_close_matches(wanted, names.values(), n=1)
    raise MakiniConfigurationError(
        f"there is no stream {wanted!r}.",
        remedy=(f"Did you mean {near[0]!r}? " if near else "") + f"There are: {', '.join(names.values())}.",
    )


def _state(store: Store, folder: str) -> StreamState:
    from makini_provider.destinations.files.reader import stream_state

    return stream_state(store, folder)


def _chosen_files(state: StreamState, *, tombstones: bool) -> Iterator[DataFile]:
    return _data_files(state.with_tombstones if tombstones else state.with_records)


def _data_files(commits: list[Commit]) -> Iterator[DataFile]:
    """The files of commits, in their order; snapshots may share theirs."""
    yield from {file.path: file for commit in commits for file in commit.files}.values()


def _describe(store: Store, folder: str) -> dict[str, Any]:
    state = _state(store, folder)
    files = list(_data_files(state.with_records))
    return {
        "source": state.commits[-1].source,
        "resource": state.commits[-1].resource,
        "folder": folder,
        "watermark": _instant(state.watermark),
        "anchor": _instant(state.anchor),
        "coverage": [[_instant(window.start), _instant(window.end)] for window in state.coverage],
        "commits": len(state.visible),
        "records": sum(file.records for file in files),
        "files": [_describe_file(store, folder, file) for file in files],
        "tombstones": [_describe_file(store, folder, file) for file in _data_files(state.with_tombstones)],
    }


def _describe_file(store: Store, folder: str, file: DataFile) -> dict[str, Any]:
    return {
        "path": store.uri(f"{folder}/{file.path}"),
        "records": file.records,
        "bytes": file.bytes,
        "reads": [{"line": line, "asked_at": _instant(at)} for line, at in file.reads],
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
