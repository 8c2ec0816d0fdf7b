"""What is said where webhooks do not come in or are not worked off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from makini_provider.webhooks.health import Thresholds, troubles
from makini_provider.webhooks.inbox import Inbox, Tally

from .events import claim, received

HOUR = timedelta(hours=1)


@pytest.fixture
def quiet(tmp_path: Path) -> Inbox:
    """An inbox to which a webhook has come and been worked off."""
    inbox = Inbox(f"sqlite:///{tmp_path}/inbox.db")
    inbox.put(received())
    for event in claim(inbox):
        inbox.done(event)
    tally(inbox, "received", 1)
    return inbox


def tally(
    inbox: Inbox, what: str, number: int, ago: timedelta = timedelta(0), endpoint: str = "plant"
) -> None:
    hour = (datetime.now(UTC) - ago).replace(minute=0, second=0, microsecond=0)
    inbox.add_tallies([Tally(hour, endpoint, what, number)])


def said(inbox: Inbox, *, changed: bool = False, endpoints: tuple[str, ...] = ("plant",)) -> list[str]:
    return list(troubles(inbox, endpoints, Thresholds(), changed=lambda endpoint, within: changed))


def test_where_all_is_well_nothing_is_said(quiet: Inbox) -> None:
    assert said(quiet, changed=True) == []


def test_a_webhook_that_has_waited_for_too_long(quiet: Inbox) -> None:
    quiet.put(received(b"1", received_at=datetime.now(UTC) - timedelta(minutes=29)))
    assert said(quiet) == []
    quiet.put(received(b"2", received_at=datetime.now(UTC) - timedelta(minutes=45)))
    (line,) = said(quiet)
    assert line.startswith("The oldest webhook has waited for 45 minutes (2 wait)")


def test_dead_letters(quiet: Inbox) -> None:
    quiet.put(received(b"1"))
    quiet.dead(claim(quiet)[0], "why")
    (line,) = said(quiet)
    assert line.startswith("1 webhooks were given up")


@pytest.mark.parametrize(("rejected", "received", "told"), [(19, 1, False), (20, 30, False), (60, 20, True)])
def test_more_refused_than_taken(quiet: Inbox, rejected: int, received: int, told: bool) -> None:
    tally(quiet, "rejected.signature", rejected)
    tally(quiet, "received", received)
    assert bool(said(quiet)) is told


def test_refusals_of_yesterday_are_old_news(quiet: Inbox) -> None:
    tally(quiet, "rejected.signature", 1000, ago=3 * HOUR)
    assert said(quiet) == []


def test_silence_counts_where_the_syncs_have_found_changes(quiet: Inbox) -> None:
    tally(quiet, "received", 5, ago=30 * HOUR, endpoint="other")
    assert said(quiet, endpoints=("plant", "other")) == []
    (line,) = said(quiet, endpoints=("plant", "other"), changed=True)
    assert line.startswith("Endpoint 'other' has heard nothing for 24 hours")


def test_what_was_heard_is_known_when_its_events_are_forgotten(quiet: Inbox) -> None:
    tally(quiet, "received", 1, ago=5 * HOUR, endpoint="other")
    quiet.forget(timedelta())
    assert said(quiet, endpoints=("other",), changed=True) == []
