"""The connection doctor: ``airflow makini check`` and ``python -m makini_provider check``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from makini_provider.cli.output import Printed, wants_colour

if TYPE_CHECKING:
    from makini_provider.hooks.doctor import CheckUp

WHAT: Final = "check connections: the way there, the token, what can be read, and how the server behaves"

ARGUMENTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "--conn-id",
        {
            "action": "append",
            "metavar": "ID",
            "help": "a connection, or conn_id/makini_connection for one customer of an application; may be "
            "repeated (default: those of MAKINI_CONN_IDS)",
        },
    ),
    (
        "--all",
        {
            "action": "store_true",
            "help": "all connections of type makini that can be listed: of the metadata database, and of the "
            "environment",
        },
    ),
    (
        "--resources",
        {
            "metavar": "LIST",
            "help": "resources to count, comma-separated: eam/work-orders, eam/*, or all "
            "(default: the common ones)",
        },
    ),
    ("--json", {"action": "store_true", "help": "one JSON document"}),
)
"""Of the command, for both parsers."""

_MARKS: Final = {
    "ok": ("ok", "32"),
    "note": ("-", ""),
    "warning": ("warn", "33"),
    "failure": ("FAIL", "31"),
    "unknown": ("?", ""),
}


def add_commands(commands: Any) -> None:
    """Add the command to a parser.

    :param commands: what ``ArgumentParser.add_subparsers`` returned
    """
    parser = commands.add_parser("check", help=WHAT, description=f"{WHAT.capitalize()}.")
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)
    parser.set_defaults(run=check)


def run_in_airflow(arguments: argparse.Namespace) -> None:
    """Run as ``airflow makini check``; ends the process with the command's exit code."""
    from makini_provider.cli.main import run

    raise SystemExit(run(check, arguments))


def check(arguments: argparse.Namespace) -> Printed:
    """Check what the arguments name.

    :return: what to print; exit code 1 where a connection does not work
    """
    # As Airflow's own commands about connections do: outside a task, it is the database that holds them.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    from makini_provider.cli.known_connections import known
    from makini_provider.hooks.doctor import check_up
    from makini_provider.operators.planning import DagSettings, expand_resources

    names: Sequence[str] = arguments.conn_id or ()
    missing: list[str] = []
    if arguments.all:
        listed, missing = known()
        names = list(dict.fromkeys([*names, *listed]))
    elif not names:
        names = DagSettings.from_environment().conn_ids
    resources = _resources(arguments.resources)
    found = [check_up(name, expand_resources(resources) if resources else None) for name in names]
    code = 0 if found and all(one.works for one in found) else 1
    if arguments.json:
        document = {"connections": [one.as_json() for one in found], "not_listed": missing}
        return Printed([json.dumps(document, indent=2)], code)
    lines = [line for one in found for line in _lines(one, colour=wants_colour())]
    if not found:
        lines.append("There is no connection of type makini that could be listed.")
    return Printed([*lines, *(f"Not listed: {text}" for text in missing)], code)


def _resources(text: str | None) -> list[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    return ["eam/*", "erp/*", "wms/*"] if names == ["all"] else names


def _lines(one: CheckUp, *, colour: bool) -> list[str]:
    width = max((len(finding.topic) for finding in one.findings), default=0)
    lines = [one.source]
    for finding in one.findings:
        mark, paint = _MARKS[finding.level]
        first, *rest = finding.text.splitlines() or [""]
        shown = _painted(f"{mark:<4}", paint, colour=colour)
        lines.append(f"  {shown}  {finding.topic:<{width}}  {first}")
        lines += [f"        {'':<{width}}  {line}" for line in rest]
    verdict = f"{one.source} {'works' if one.works else 'does not work'}"
    return [*lines, _painted(verdict, "32" if one.works else "31", colour=colour), ""]


def _painted(text: str, paint: str, *, colour: bool) -> str:
    return f"\033[{paint}m{text}\033[0m" if colour and paint else text
