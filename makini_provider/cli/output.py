"""What a command hands over to be printed, where lines alone do not say it all."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Printed:
    """Lines, and how the command ended.

    :param lines: for standard output
    :param code: exit code of the process
    """

    lines: list[str] = field(default_factory=list)
    code: int = 0


def wants_colour() -> bool:
    """Whether standard output is a terminal whose owner has nothing against colours (https://no-color.org)."""
    return sys.__stdout__ is not None and sys.__stdout__.isatty() and not os.environ.get("NO_COLOR")
