"""Whether webhooks come in and are worked off: what a person should be told, from the inbox alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from makini_provider.webhooks.inbox import Counts, Tally

REJECTED_WITHIN: Final = timedelta(hours=1)
FEWEST_REJECTED: Final = 20
"""Below so many refused requests their share says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on somebody should be told.

    :param oldest: age of the oldest event that is not finished
    :param dead: how many dead letters there are
    :param rejected: share of the requests of the last hour that were refused
    :param silent: how long no webhook has come in, while the syncs have found changes
    """

    oldest: timedelta = timedelta(minutes=30)
    dead: int = 1
    rejected: float = 0.5
    silent: timedelta = timedelta(hours=24)


class Watched(Protocol):
    """What is needed of an inbox."""

    def counts(self, endpoint: str | None = None) -> Counts:
        """Count the events."""
        ...

    def tallies(self, within: timedelta) -> list[Tally]:
        """What the receivers have counted lately."""
        ...


def troubles(
    inbox: Watched,
    endpoints: Sequence[str],
    thresholds: Thresholds,
    *,
    changed: Callable[[str, timedelta], bool],
) -> Iterator[str]:
    """What is wrong, one sentence each, with what to do.

    :param inbox: that receivers fill and workers empty
    :param endpoints: that there are
    :param thresholds: from where on it counts
    :param changed: whether the syncs have found changes of what an endpoint tells of, within a time
    """
    counts = inbox.counts()
    if counts.oldest is not None and counts.oldest >= thresholds.oldest:
        minutes = counts.oldest.total_seconds() / 60
        yield (
            f"The oldest webhook has waited for {minutes:.0f} minutes ({counts.waiting} wait): is the DAG "
            "makini_webhook_events paused, is the triggerer up, does its task fail?"
        )
    if counts.dead >= thresholds.dead:
        yield (
            f"{counts.dead} webhooks were given up: 'python -m makini_provider inbox dead' says why, "
            "'… inbox replay' has them tried again, '… inbox forget --dead' removes them."
        )
    lately = inbox.tallies(REJECTED_WITHIN)
    rejected = sum(tally.number for tally in lately if tally.what.startswith("rejected."))
    received = sum(tally.number for tally in lately if tally.what == "received")
    if rejected >= FEWEST_REJECTED and rejected / (rejected + received) >= thresholds.rejected:
        yield (
            f"{rejected} of {rejected + received} requests to the receiver were refused within an hour: a "
            "secret that differs from Makini's, or a stranger who tries."
        )
    heard = {tally.endpoint for tally in inbox.tallies(thresholds.silent) if tally.what == "received"}
    for endpoint in endpoints:
        if endpoint not in heard and changed(endpoint, thresholds.silent):
            hours = thresholds.silent.total_seconds() / 3600
            yield (
                f"Endpoint {endpoint!r} has heard nothing for {hours:g} hours, in which the syncs have found "
                "changes: is it registered at Makini, does the receiver run, can Makini reach it?"
            )
