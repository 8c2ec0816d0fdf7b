"""One trial of the syncs over real HTTP: a source that changes while it is read, and requests that fail.

Everything that happens is drawn from a seed beforehand: the data, what changes before which read of the list,
which request fails and how. Two readers that are tried with the same seed meet the same.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.client import MakiniClient
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import MakiniError
from makini_provider.api.pacing import Pace
from makini_provider.api.records import format_instant, parse_instant
from makini_provider.api.resources import get_resource
from makini_provider.api.transport import Transport, TransportSettings
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records
from makini_provider.sandbox import Behaviour, Sandbox
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream

NOW: Final = datetime(2026, 8, 1, 9, 30, tzinfo=UTC)
LOOKBACK: Final = timedelta(hours=1)
LIST: Final = "eam/work-orders"
STREAM: Final = Stream(Source("trial"), get_resource(LIST))
RETRIES: Final = 3
"""As an Airflow task has them."""
MOST_INITIAL_RUNS: Final = 60
TIMEOUT: Final = 1.0
SLOW: Final = 1.5
WAITS_SHORTENED: Final = 100
"""The client's waits between requests take so much less than in earnest; their order stays."""

FAULTS: Final = ("500", "503", "429", "cut", "truncated_json", "html_200", "empty_body", "slow")
_FAULT_WEIGHTS: Final = (4, 4, 4, 4, 1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of server, and of source.

    :param name: for people
    :param habits: how the server answers
    :param records: the fewest and the most records that the list begins with
    :param page_sizes: the smallest and the largest page
    :param parallel: requests at a time
    :param imports: whether many records come with one time, before and while the list is read
    """

    name: str
    habits: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[int, int] = (200, 1500)
    page_sizes: tuple[int, int] = (5, 100)
    parallel: int = 1
    imports: bool = False


_WALKED: Final = {"records": (200, 600), "page_sizes": (10, 100)}
"""Of lists that are read again and again, so that a trial does not take minutes."""
SCENARIOS: Final = (
    Scenario("behaves"),
    Scenario("bulk imports of one time, equal times in another order at each request",
             {"unstable_ties": True}, imports=True),
    Scenario("filters by whole seconds", {"filter_precision": "second"}, imports=True),
    Scenario("filters by whole days", {"filter_precision": "day"}, records=(200, 800)),
    Scenario("takes dates without a time only", {"reject_time_of_day": True, "filter_precision": "day"},
             records=(200, 800)),
    Scenario("ignores filters", {"ignore_filters": True}, **_WALKED),
    Scenario("refuses the filter on updatedAt", {"reject_filter_fields": ("updatedAt",)}, **_WALKED),
    Scenario("ignores the sort", {"ignore_sort": True}, **_WALKED),
    Scenario("cuts pages to 7 records", {"page_size_clamp": 7}, records=(200, 800)),
    Scenario("says no totals", {"omit_meta": True}),
    Scenario("behaves; four requests at a time", records=(500, 800), page_sizes=(3, 4), parallel=4),
)  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What came of one reader's trial, or of several.

    :param trials: how many
    :param requests: that reached the server
    :param changes: of records, while they were read
    :param faults: that requests met
    :param failed_tries: tries of a run that ended with an error
    :param records: that the server had in the end
    :param lost: of these, how many the reader has not
    :param wrong: of these, how many the reader has in another version
    :param doubled: keys that come twice when the newest version of each record is read
    :param half_commits: how often, after a try, the destination could not be read, or did not hold what it
        said that it covers
    :param incorrect: trials with anything of these
    :param unfinished: trials whose last run failed, although nothing disturbed it; nothing is compared then
    """

    trials: int = 0
    requests: int = 0
    changes: int = 0
    faults: int = 0
    failed_tries: int = 0
    records: int = 0
    lost: int = 0
    wrong: int = 0
    doubled: int = 0
    half_commits: int = 0
    incorrect: int = 0
    unfinished: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(getattr(self, name) + getattr(other, name) for name in Outcome.__slots__))

    @property
    def correct(self) -> bool:
        """Whether the reader has everything, once, as it is."""
        return not (self.incorrect or self.unfinished)


class Syncs(Protocol):
    """A reader with its destination."""

    def initial(self) -> None:
        """Bring everything that there is."""
        ...

    def incremental(self, interval: RunInterval, /) -> None:
        """Bring what has changed."""
        ...

    def landed(self) -> list[dict[str, Any]]:
        """What a user of the destination sees: the newest version of each record."""
        ...

    def covered_until(self) -> datetime | None:
        """Before this, the destination says, everything is here; ``None`` where it does not say."""
        ...


class OwnSyncs:
    """The syncs of this provider, into files on a local disk."""

    def __init__(self, client: MakiniClient, folder: str, random: Random) -> None:
        self._client = client
        self._destination = FilesDestination(f"file://{folder}", compression="none")
        self._max_window = timedelta(days=random.choice([2, 7, 30]))
        # Both are longer than the data goes back; a window of decades is not cut into parts of one size.
        whole = client.max_parallel_requests == 1 and random.random() < 0.5
        self._history = None if whole else timedelta(days=200)

    def _sync(self) -> StreamSync:
        return StreamSync(
            self._client, self._destination, STREAM, run_id="trial", max_window=self._max_window
        )

    def initial(self) -> None:
        self._sync().initial(history=self._history)

    def incremental(self, interval: RunInterval) -> None:
        self._sync().incremental(interval, lookback=LOOKBACK)

    def landed(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in newest_records(self._destination.store, stream_folder(STREAM))]

    def covered_until(self) -> datetime | None:
        return StreamState(self._destination.commits(STREAM)).watermark


class PlainSyncs:
    """The usual way: a filter from the newest time seen, an ascending sort, page after page; merged by key.

    It has the same client, so that its requests are repeated as well; and it keeps nothing of a run that
    failed.
    """

    def __init__(self, client: MakiniClient, *_: object) -> None:
        self._client = client
        self._landed: dict[str, dict[str, Any]] = {}
        self._cursor: datetime | None = None

    def initial(self) -> None:
        self._read()

    def incremental(self, _: RunInterval) -> None:
        self._read()

    def landed(self) -> list[dict[str, Any]]:
        return list(self._landed.values())

    def covered_until(self) -> datetime | None:
        return None

    def _read(self) -> None:
        filters = {"updatedAt:gteq": format_instant(self._cursor)} if self._cursor else {}
        found: dict[str, dict[str, Any]] = {}
        number, more = 1, True
        while more:
            query = ListQuery(filters, "updatedAt", page=number, page_size=self._client.page_size)
            page, _ = self._client.list_page(STREAM.resource, query)
            found.update((record.identity, json.loads(record.raw)) for record in page.records)
            number, more = number + 1, page.has_more
        self._landed |= found
        seen = [at for one in found.values() if (at := parse_instant(one["updatedAt"])) is not None]
        self._cursor = max([*seen, *([self._cursor] if self._cursor else [])], default=None)


Reader = Callable[[MakiniClient, str, Random], Syncs]


def run(scenario: Scenario, seed: str, reader: Reader = OwnSyncs) -> Outcome:
    """Try a reader once.

    :param scenario: the kind of server
    :param seed: of everything that happens
    :param reader: is tried
    """
    return _Trial(scenario, seed).run(reader)


class _Trial:
    def __init__(self, scenario: Scenario, seed: str) -> None:
        self._scenario = scenario
        self._random = random = Random(seed)
        self._size = random.randint(*scenario.records)
        self._page_size = random.randint(*scenario.page_sizes)
        self._late = random.random() < 0.5
        self._states_missing = random.random() < 0.5
        self._outcome = Outcome(trials=1)

    def run(self, reader: Reader) -> Outcome:
        random = self._random
        with (
            Sandbox(seed=random.randrange(2**32), records=self._size, now=NOW) as sandbox,
            _client(sandbox, self._page_size, self._scenario.parallel) as client,
            TemporaryDirectory() as folder,
        ):
            self._sandbox = sandbox
            # With chance of its own: what happens must not depend on the reader.
            self._syncs = syncs = reader(client, folder, Random(random.random()))
            sandbox.store.change(resources=[LIST], **self._between())
            sandbox.behave(self._trouble(of_everything=True))
            for _ in range(MOST_INITIAL_RUNS):
                if self._run(syncs.initial):
                    break
            else:
                raise AssertionError(f"the initial sync failed {MOST_INITIAL_RUNS} times")
            for _ in range(random.randint(2, 4)):
                self._pass_time()
                sandbox.behave(self._trouble(of_everything=False))
                self._run(partial(syncs.incremental, self._interval()))
            sandbox.behave(self._behaviour())
            sandbox.store.clock.advance(timedelta(seconds=2))
            if self._run(partial(syncs.incremental, RunInterval())):
                self._compare()
            else:
                self._outcome.unfinished = 1
        return self._outcome

    # What happens at the source

    def _between(self) -> dict[str, int]:
        """Changes while nobody reads."""
        random = self._random
        changes = {"updates": random.randint(0, 40), "inserts": random.randint(0, 10), "hard_deletes": 1}
        if self._late:
            changes["late"] = random.randint(0, 10)
        if self._scenario.imports:
            changes["imports"] = random.randint(0, 3 * self._page_size)
        return changes

    def _pass_time(self) -> None:
        """Hours go by, in which the source goes on."""
        self._sandbox.store.clock.advance(timedelta(minutes=self._random.randint(10, 300)))
        self._sandbox.store.change(resources=[LIST], **self._between())

    def _interval(self) -> RunInterval:
        """That of a scheduled run, or of one that somebody started."""
        if self._random.random() < 0.5:
            return RunInterval(scheduled=False)
        end = self._sandbox.store.clock.now().replace(minute=0, second=0, microsecond=0)
        return RunInterval(end - timedelta(hours=1), end, end - timedelta(hours=1))

    def _trouble(self, *, of_everything: bool) -> Behaviour:
        """What will change and fail in the next runs."""
        random = self._random
        pages = self._size // self._page_size + 1 if of_everything else 40 // self._page_size + 4
        often = random.choice([0.2, 0.6, 1])
        return self._behaviour(
            seed=random.randrange(2**32),
            change_sequence=tuple(
                self._changes() if random.random() < often else {}
                for _ in range(random.randint(pages // 2, pages * 3 // 2))
            ),
            fault_sequence=tuple(self._faults(2 * pages, random.choice([0, 0.02, 0.08]))),
            retry_after=random.choice([None, "0", "1", "2"]),
            slow_seconds=SLOW,
            clock_step=random.choice([0, 0.3, 5]),
        )

    def _behaviour(self, **trouble: Any) -> Behaviour:
        return Behaviour(**self._scenario.habits, sync_state_missing=self._states_missing, **trouble)

    def _changes(self) -> dict[str, int]:
        """What happens between two reads."""
        random = self._random
        kinds = {"updates": 6, "inserts": 3, "deletes": 1, "hard_deletes": 2}
        if self._late:
            kinds["late"] = 2
        if self._scenario.imports:
            kinds["imports"] = 1
        kind = random.choices([*kinds], [*kinds.values()])[0]
        most = {"updates": 3, "inserts": 2, "imports": 2 * self._page_size}.get(kind, 1)
        return {kind: random.randint(1, most)}

    def _faults(self, requests: int, rate: float) -> Iterator[str]:
        """Faults alone, and now and then so many in a row that the client gives up."""
        random = self._random
        number = 0
        while number < requests:
            length = 1
            fault = random.choices(FAULTS, _FAULT_WEIGHTS)[0] if random.random() < rate else ""
            if fault in FAULTS[:4] and random.random() < 0.15:
                length = 7
            yield from [fault] * length
            number += length

    # Runs

    def _run(self, act: Callable[[], None]) -> bool:
        """A run with its tries, as Airflow makes them: not again where the error says that it is no use."""
        sandbox, outcome = self._sandbox, self._outcome
        for _ in range(1 + RETRIES):
            changed = sandbox.store.changed
            sandbox.forget_requests()
            error: MakiniError | None = None
            try:
                act()
            except MakiniError as caught:
                error = caught
            outcome.changes += sandbox.store.changed - changed
            outcome.requests += len(sandbox.requests)
            outcome.faults += sum(bool(request["fault"]) for request in sandbox.requests)
            outcome.half_commits += not self._destination_is_honest()
            if error is None:
                return True
            outcome.failed_tries += 1
            if not error.retryable:
                break
        return False

    def _destination_is_honest(self) -> bool:
        """Whether it can be read, and holds what it says that it covers."""
        try:
            until = self._syncs.covered_until()
            landed = {record["key"]: record for record in self._syncs.landed()}
        except MakiniError:
            return False
        if until is None:
            return True
        # What Makini pulls late is what the lookback is for.
        until = until - LOOKBACK if self._late else until
        return all(
            landed.get(record["key"]) == record
            for record in self._sandbox.store.records(LIST)
            if (parse_instant(record["updatedAt"]) or until) < until
        )

    def _compare(self) -> None:
        truth = {record["key"]: dict(record) for record in self._sandbox.store.records(LIST)}
        rows = self._syncs.landed()
        landed = {record["key"]: record for record in rows}
        outcome = self._outcome
        outcome.records = len(truth)
        outcome.lost = len(truth.keys() - landed.keys())
        outcome.wrong = sum(landed[key] != record for key, record in truth.items() if key in landed)
        outcome.doubled = sum(count - 1 for count in Counter(record["key"] for record in rows).values())
        outcome.incorrect = bool(outcome.lost or outcome.wrong or outcome.doubled or outcome.half_commits)


@contextmanager
def _client(sandbox: Sandbox, page_size: int, parallel: int) -> Iterator[MakiniClient]:
    """The client as the hook makes it, with waits that are over sooner."""

    def sleep(seconds: float) -> None:
        time.sleep(seconds / WAITS_SHORTENED)

    transport = Transport(
        sandbox.url,
        BearerAuth(StaticToken(sandbox.token), sandbox.url),
        TransportSettings(timeout=TIMEOUT),
        pace=Pace(sleep=sleep, monotonic=lambda: time.monotonic() * WAITS_SHORTENED),
        pool_size=parallel,
        sleep=sleep,
    )
    try:
        yield MakiniClient(transport, page_size=page_size, max_parallel_requests=parallel)
    finally:
        transport.close()
