"""Reading a list by page numbers, again and again until it is known to be complete.

A page number says nothing lasting: when a record leaves the list, those behind it move up one place, and
the one at the page's edge is never seen. So one pass proves nothing. What does: a pass that brings nothing
new, while the list never grew shorter since and all passes together have seen as many as it has: not fewer,
and not more either, which tells of a deleted record that a new one made up for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from makini_provider.api.dialects import Page
from makini_provider.api.errors import AnswerTooLargeError, MakiniPagingError, UnstableReadError
from makini_provider.api.records import Record
from makini_provider.sync.seen import SeenRecords

MOST_PASSES: Final = 60
QUIET_PASSES_WITHOUT_TOTAL: Final = 3
"""So many passes in a row have to bring nothing new where the server does not say how long the list is; if
records come twice in one of them, ``QUIET_PASSES_WITH_DOUBLES``."""
QUIET_PASSES_IN_DISORDER: Final = 6
"""So many, where records come in another order each time, so that one pass never sees all of them."""
QUIET_PASSES_WITH_DOUBLES: Final = 12
"""After so many, each as long as the list, what was never seen is not there: keys come twice in its place."""
SAME_PAGES: Final = 10
"""So many pages in a row that are all the same can't be chance, in whatever order the server gives them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that one request brought.

    :param records: those that belong to what was asked for, and were not delivered before in this version
    :param read_at: when they were asked for, by the server's clock
    :param complete_before: everything whose cursor lies before this is delivered by now; ``None`` where this
        batch does not tell
    :param remaining: how many records are still to come, as far as known
    """

    records: list[Record]
    read_at: datetime
    complete_before: datetime | None = None
    remaining: int | None = None


class Walk:
    """Passes over a list until nothing can be missing.

    :param fetch: asks for a page by number and page size
    :param page_size: records to ask for in one request; smaller when an answer is too large
    :param wanted: whether a record belongs to what is asked for
    :param what: the list's name, for messages
    """

    def __init__(
        self,
        fetch: Callable[[int, int], tuple[Page, datetime]],
        *,
        page_size: int,
        wanted: Callable[[Record], bool],
        what: str,
    ) -> None:
        self._fetch = fetch
        self._page_size = page_size
        self._wanted = wanted
        self._what = what
        self.content: str | None = None
        """Digest of the list's content, once it has been read."""

    def batches(self) -> Iterator[Batch]:
        """Read the list.

        :raises UnstableReadError: it changed during every pass
        :raises MakiniPagingError: the server gives the same page whatever its number, or records twice
        """
        quiet = 0
        total: int | None = None
        with SeenRecords() as seen:
            since = 1
            for number in range(1, MOST_PASSES + 1):
                walked = _Pass(number, total=total)
                try:
                    yield from self._pass(walked, seen, since)
                except AnswerTooLargeError:
                    # Page numbers of another size count from the start.
                    if self._page_size == 1:
                        raise
                    self._page_size = max(self._page_size // 2, 1)
                    since = number + 1
                    continue
                total = walked.total
                # More seen than there are: a new record made up for a deleted one in the total.
                outnumbered = total is not None and seen.count(since_pass=since) > total
                if walked.shrank or outnumbered:
                    since = number + 1
                    continue
                quiet = 0 if walked.new or number == since else quiet + 1
                seen_now = seen.count(since_pass=number)
                if walked.total is None:
                    orderly = seen_now == walked.records
                    needed = QUIET_PASSES_WITHOUT_TOTAL if orderly else QUIET_PASSES_WITH_DOUBLES
                    complete = quiet >= needed
                else:
                    needed = 1 if seen_now == walked.total else QUIET_PASSES_IN_DISORDER
                    complete = quiet >= needed and seen.count(since_pass=since) == walked.total
                if walked.pages == 1 or complete:
                    self.content = seen.content(since_pass=since)
                    return
                if quiet >= QUIET_PASSES_WITH_DOUBLES and total is not None and walked.records >= total:
                    raise MakiniPagingError(
                        f"{self._what}: each pass over it shows {total:,} records, but only "
                        f"{seen.count(since_pass=since):,} different ones: the server gives some twice, and "
                        "others perhaps never.",
                        remedy="Nothing of it was committed. Ask Makini's support why keys of this list come "
                        "more than once.",
                    )
        raise UnstableReadError(
            f"{self._what} changed during each of {MOST_PASSES} passes over it, so that none is known to be "
            "complete. Nothing of it was committed.",
            remedy="Run it again when the source is quieter, or ask Makini's support whether the list can be "
            "filtered and sorted by its time of change.",
        )

    def _pass(self, walked: _Pass, seen: SeenRecords, since: int) -> Iterator[Batch]:
        before: list[str] = []
        same = 0
        more = True
        while more:
            page, read_at = self._fetch(walked.pages + 1, self._page_size)
            identities = [record.identity for record in page.records]
            same = same + 1 if identities and identities == before else 1
            if same == SAME_PAGES:
                raise MakiniPagingError(
                    f"{self._what}: pages {walked.pages + 2 - same} to {walked.pages + 1} are all the same: "
                    "the server does not go by page numbers.",
                    remedy="Nothing of it was committed. Ask Makini's support how this list is paged.",
                )
            before = identities
            fresh = []
            for record in page.records:
                sighting = seen.see(record, walked.number)
                if not self._wanted(record):
                    continue
                if sighting.last_pass is None or sighting.last_pass < since:
                    walked.new += 1
                if sighting.last_pass is None or sighting.changed:
                    fresh.append(record)
            more = walked.count(page)
            yield Batch(fresh, read_at, None, walked.remaining)


@dataclass(slots=True)
class _Pass:
    """What one pass has seen so far."""

    number: int
    pages: int = 0
    records: int = 0
    new: int = 0
    total: int | None = None
    shrank: bool = False

    def count(self, page: Page) -> bool:
        """Count a page in, and tell whether there are more."""
        self.pages += 1
        self.records += len(page.records)
        if page.total is not None:
            self.shrank |= self.total is not None and page.total < self.total
            self.total = page.total
        more = page.has_more or (self.total is not None and self.records < self.total)
        if more and not page.records:
            # Emptied while it was walked, or wrong about its own end: either way this pass proves nothing.
            self.shrank = True
            return False
        return more

    @property
    def remaining(self) -> int | None:
        return None if self.total is None or self.number > 1 else max(self.total - self.records, 0)
