"""Reading the command line, and telling errors to people."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from makini_provider import __version__
from makini_provider.api.errors import MakiniConfigurationError, MakiniError
from makini_provider.cli import check, inbox, landed
from makini_provider.cli.output import Printed

FAILURE = 1
USAGE = 2


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command sets ``run``, which returns the lines to print."""
    parser = argparse.ArgumentParser(
        prog="python -m makini_provider",
        description="Check connections; look at what the syncs have landed at a destination, and clean up.",
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-makini {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    landed.add_commands(commands)
    inbox.add_commands(commands)
    check.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    :param argv: the arguments, by default those of the process
    :return: the exit code: 0, 1 for a failure, 2 for a usage or configuration that can't work
    """
    arguments = make_parser().parse_args(argv)
    return run(arguments.run, arguments)


def run(command: Callable[[argparse.Namespace], list[str] | Printed], arguments: argparse.Namespace) -> int:
    """Run a command and print what it hands over.

    :param command: takes the arguments; returns lines, or lines and an exit code
    :param arguments: of the command line
    :return: the exit code, as :func:`main` does
    """
    # Airflow reads this when it is imported; its warnings are not what was asked for.
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    try:
        # What is printed is for other programs: whatever a library says goes elsewhere.
        with contextlib.redirect_stdout(sys.stderr):
            done = command(arguments)
    except MakiniError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return USAGE if isinstance(error, MakiniConfigurationError) else FAILURE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    printed = done if isinstance(done, Printed) else Printed(done)
    try:
        sys.stdout.writelines(f"{line}\n" for line in printed.lines)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`); nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return printed.code
