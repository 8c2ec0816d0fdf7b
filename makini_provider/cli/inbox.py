"""The commands about the inbox of webhooks: what is in it, what has died, and trying that again."""

from __future__ import annotations

import argparse
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from makini_provider.api.records import format_instant

if TYPE_CHECKING:
    from makini_provider.webhooks.inbox import DeadLetter, Inbox, State


def add_commands(commands: Any) -> None:
    """Add the commands to a parser.

    :param commands: what ``ArgumentParser.add_subparsers`` returned
    """
    inbox = commands.add_parser(
        "inbox",
        help="look into the inbox of webhooks, and try dead events again",
        description="Look into the inbox of webhooks, and try dead events again.",
    )
    actions = inbox.add_subparsers(title="commands", metavar="<command>", required=True)

    status = _add(actions, "status", "count the events", _status)
    status.add_argument("--json", action="store_true", help="one JSON document")

    dead = _add(actions, "dead", "list the events that were given up", _dead)
    dead.add_argument("--limit", type=_whole, default=20, help="show no more than these (default: 20)")
    dead.add_argument("--json", action="store_true", help="one JSON document a line, with the payload")

    replay = _add(actions, "replay", "let dead events be tried again", _replay)
    replay.add_argument("ids", nargs="*", metavar="<id>", help="as 'inbox dead' shows them")
    replay.add_argument("--all", action="store_true", help="all that are dead")

    forget = _add(actions, "forget", "remove events that are done", _forget)
    forget.add_argument("--days", type=_days, required=True, help="keep those that were done since")
    forget.add_argument("--dead", action="store_true", help="remove dead ones too")


def _add(actions: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=f"{what.capitalize()}.")
    parser.add_argument(
        "--inbox", metavar="<inbox>", help="an Airflow connection or a URL (default: MAKINI_WEBHOOK_INBOX)"
    )
    if name != "forget":
        parser.add_argument("--endpoint", metavar="<name>", help="only events of this endpoint")
    parser.set_defaults(run=run)
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 on")
    return days


# The commands


def _status(arguments: argparse.Namespace) -> list[str]:
    counts = _open(arguments).counts(arguments.endpoint)
    oldest = None if counts.oldest is None else round(counts.oldest.total_seconds(), 1)
    numbers = {
        "waiting": counts.waiting,
        "claimed": counts.claimed,
        "dead": counts.dead,
        "done": counts.done,
        "oldest_seconds": oldest,
    }
    if arguments.json:
        return [json.dumps(numbers)]
    return [
        *(f"{name:8} {number:>10,}" for name, number in numbers.items() if name != "oldest_seconds"),
        "oldest   " + ("      none" if oldest is None else f"{oldest:>10,.0f} s"),
    ]


def _dead(arguments: argparse.Namespace) -> list[str]:
    letters = _open(arguments).dead_letters(arguments.endpoint, limit=arguments.limit)
    if arguments.json:
        return [json.dumps(_document(letter)) for letter in letters]
    return [
        f"{letter.id}  {format_instant(letter.died_at)}  {letter.endpoint}  {letter.type or '(no type)'}  "
        f"{letter.attempts} attempts: {' '.join(letter.error.split())}"
        for letter in letters
    ]


def _replay(arguments: argparse.Namespace) -> list[str]:
    from makini_provider.api.errors import MakiniConfigurationError

    if not (arguments.ids or arguments.all or arguments.endpoint):
        raise MakiniConfigurationError(
            "nothing says which events.", remedy="Give their ids, --endpoint <name>, or --all."
        )
    replayed = _open(arguments).replay(arguments.ids or None, endpoint=arguments.endpoint)
    return [f"{replayed:,} {'event' if replayed == 1 else 'events'} will be tried again"]


def _forget(arguments: argparse.Namespace) -> list[str]:
    states: list[State] = ["done", "dead"] if arguments.dead else ["done"]
    forgotten = _open(arguments).forget(timedelta(days=arguments.days), states=states)
    return [f"removed {forgotten:,} {'event' if forgotten == 1 else 'events'}"]


# What they share


def _open(arguments: argparse.Namespace) -> Inbox:
    from makini_provider.webhooks.settings import WebhookSettings
    from makini_provider.webhooks.setup import open_inbox

    named = {"MAKINI_WEBHOOK_INBOX": arguments.inbox} if arguments.inbox else {}
    return open_inbox(WebhookSettings.from_environment({**os.environ, **named}))


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "endpoint": letter.endpoint,
        "type": letter.type,
        "event_id": letter.event_id,
        "received_at": format_instant(letter.received_at),
        "died_at": format_instant(letter.died_at),
        "attempts": letter.attempts,
        "error": letter.error,
        "payload": letter.payload.decode("utf-8", "backslashreplace"),
    }
