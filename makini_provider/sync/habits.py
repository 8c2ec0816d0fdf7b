"""What reading finds out about a server: whether it filters and sorts by the cursor, and how finely."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from makini_provider.sync.windows import EARLIEST

log = logging.getLogger(__name__)

MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
COARSER: Final = {MICROSECOND: SECOND, SECOND: DAY}


@dataclass(slots=True)
class ServerHabits:
    """What reading has found out about a list; shared by all that read it at the same time.

    :param filters: whether the filter by cursor is honoured
    :param sorts: whether the sort by cursor is honoured
    :param precision: to which the filter or the sort goes by the cursor
    :param bounds_proved: whether ``precision`` was put to the test with an upper bound and held
    :param sort_proved: whether the sort was put to the test and held
    :param notes: what was found, in words for people
    """

    filters: bool = True
    sorts: bool = True
    precision: timedelta = MICROSECOND
    bounds_proved: bool = False
    sort_proved: bool = False
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a finding, and log it."""
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)

    def go_by(self, precision: timedelta, what: str) -> None:
        """Go by a coarser precision from now on, since the server does.

        :param precision: a second or a day
        :param what: names the list and its cursor
        """
        self.precision = max(self.precision, precision)
        self.note(f"{what} goes only to the {'day' if precision == DAY else 'second'} on this server.")


class NotHonouredError(Exception):
    """The server did not filter, or did not sort."""

    def __init__(self, reason: str, *, filters: bool) -> None:
        super().__init__(reason)
        self.filters = filters


def cut(instant: datetime, precision: timedelta) -> datetime:
    """Cut an instant to a precision."""
    return EARLIEST + (instant - EARLIEST) // precision * precision


def precision_that_explains(earlier: datetime, later: datetime) -> timedelta | None:
    """The precision at which two instants in the wrong order are the same, if there is one."""
    if earlier.replace(microsecond=0) == later.replace(microsecond=0):
        return SECOND
    return DAY if earlier.date() == later.date() else None
