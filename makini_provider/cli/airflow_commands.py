"""What ``airflow makini …`` offers. Read at each start of the ``airflow`` command, so it imports little."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from makini_provider.cli.check import ARGUMENTS, WHAT


def get_commands() -> list[CLICommand]:
    """The commands, for the ``cli`` key of the provider's metadata."""
    check = ActionCommand(
        name="check",
        help=WHAT.capitalize(),
        func=lazy_load_command("makini_provider.cli.check.run_in_airflow"),
        args=tuple(Arg((name,), **options) for name, options in ARGUMENTS),  # type: ignore[no-untyped-call]
    )
    return [GroupCommand(name="makini", help="Look at connections to Makini", subcommands=(check,))]
