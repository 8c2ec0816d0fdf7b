"""A pair of tokens that rotates: what is kept, when it is replaced, and what is said when it can't be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from rotating import NOW, SEED, Clock, Endpoint, Store, keeper, pair

from makini_provider.api.errors import (
    ClientRefusedError,
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniServerError,
    PairNotKeptError,
    RefreshTokenRefusedError,
    TokenStoreChangedError,
    TokenStoreError,
)
from makini_provider.api.rotation import PATIENCE, fingerprint
from makini_provider.api.token_pair import Refreshing, TokenPair

DAY = timedelta(days=1)
OLD = timedelta(days=40)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(clock: Clock) -> Endpoint:
    return Endpoint(clock, SEED)


@pytest.fixture
def store() -> Store:
    return Store()


def taken(found: TokenPair) -> TokenPair:
    """A pair of which the store knows that it came from the seed."""
    return replace(found, seeds=(fingerprint(SEED),))


# What is used.


def test_the_first_use_takes_the_refresh_token_of_the_connection(store: Store, endpoint: Endpoint) -> None:
    assert keeper(store, endpoint).current().token == "at-1"
    assert store.pair is not None
    assert (store.pair.access_token, store.pair.refresh_token) == ("at-1", "rt-1")
    assert store.pair.expires_at is not None
    assert store.pair.expires_at - store.pair.obtained_at == 30 * DAY


def test_afterwards_the_store_counts(store: Store, endpoint: Endpoint) -> None:
    keeper(store, endpoint).current()
    assert keeper(store, endpoint).current().token == "at-1"
    assert keeper(store, endpoint, seed=None).current().token == "at-1"
    assert endpoint.asked == [SEED]


def test_a_task_refreshes_once_the_access_token_has_run_out(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7)))
    clock.now = NOW + 29 * DAY
    assert keeper(store, endpoint).current().token == "at-7"
    clock.now = NOW + 30 * DAY
    assert keeper(store, endpoint).current().token == "at-1"
    assert endpoint.asked == ["rt-7"]


def test_a_pair_that_does_not_tell_its_end_is_used_until_it_is_refused(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=OLD, life=None)))
    assert keeper(store, endpoint).current().token == "at-7"
    assert keeper(store, endpoint).current(refused="at-7").token == "at-1"


def test_a_refused_token_is_replaced_by_what_another_process_has_kept_already(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-8"), Store(taken(pair(8)))
    assert keeper(store, endpoint).current(refused="at-7").token == "at-8"
    assert endpoint.asked == []


def test_a_new_token_that_is_refused_is_not_replaced_since_another_would_be_refused_too(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=timedelta(minutes=59))))
    assert keeper(store, endpoint).current(refused="at-7").token == "at-7"
    clock.now += timedelta(minutes=2)
    assert keeper(store, endpoint).current(refused="at-7").token == "at-1"


def test_another_refresh_token_in_the_connection_is_taken_while_the_old_pair_is_good(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-new"), Store(taken(pair(7)))
    assert keeper(store, endpoint, seed="rt-new").current().token == "at-1"
    assert endpoint.asked == ["rt-new"]
    assert store.pair is not None
    assert store.pair.seeds == (fingerprint(SEED), fingerprint("rt-new"))


def test_an_older_refresh_token_that_comes_back_is_known_to_be_used_up(clock: Clock) -> None:
    endpoint = Endpoint(clock)
    store = Store(replace(pair(7), seeds=(fingerprint(SEED), fingerprint("rt-new"))))
    assert keeper(store, endpoint).current().token == "at-7"
    assert endpoint.asked == []


def test_another_refresh_token_that_is_no_good_leaves_the_old_pair_and_is_warned_of_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, store = Endpoint(clock), Store(taken(pair(7)))
    for _ in range(2):
        assert keeper(store, endpoint, seed="rt-wrong").current().token == "at-7"
    assert endpoint.asked == ["rt-wrong"]
    assert caplog.text.count("the pair in memory://acme goes on") == 1


def test_after_the_pair_has_died_another_refresh_token_opens_the_way_again(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-new"), Store(taken(pair(7, age=OLD)))
    with pytest.raises(RefreshTokenRefusedError):
        keeper(store, endpoint).current()
    assert keeper(store, endpoint, seed="rt-new").current().token == "at-1"


def test_a_pair_without_a_seed_in_the_connection_is_kept_up(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(pair(7, age=OLD))
    assert keeper(store, endpoint, seed=None).current().token == "at-1"


def test_nothing_to_begin_with_says_where_to_put_it(store: Store, endpoint: Endpoint) -> None:
    with pytest.raises(MakiniConfigurationError, match="holds no pair of tokens yet") as caught:
        keeper(store, endpoint, seed=None).current()
    assert "'refresh_token'" in caught.value.remedy


# What is kept before anything is used.


def test_every_token_is_told_of_before_it_is_used(store: Store, endpoint: Endpoint) -> None:
    told: list[str] = []
    keeper(store, endpoint, told=told).current()
    assert {SEED, "at-1", "rt-1"} <= set(told)


def test_the_store_is_written_before_anything_is_spent(store: Store, endpoint: Endpoint) -> None:
    store.before_save = lambda found: seen.append((found.refresh_token, bool(endpoint.asked)))
    seen: list[tuple[str, bool]] = []
    keeper(store, endpoint).current()
    assert seen == [(SEED, False), ("rt-1", True)]


def test_a_store_that_can_not_be_written_costs_nothing(store: Store, endpoint: Endpoint) -> None:
    store.writes = 0
    with pytest.raises(TokenStoreError):
        keeper(store, endpoint).current()
    assert endpoint.asked == []


def test_a_store_that_can_not_be_read_costs_nothing(store: Store, endpoint: Endpoint) -> None:
    store.readable = False
    with pytest.raises(TokenStoreError):
        keeper(store, endpoint).current()
    assert endpoint.asked == []


def test_a_store_that_does_not_show_what_was_written_costs_nothing(endpoint: Endpoint) -> None:
    class Forgetful(Store):
        def load(self) -> None:
            return None

    with pytest.raises(TokenStoreError, match="does not show what was written to it"):
        keeper(Forgetful(), endpoint).current()
    assert endpoint.asked == []


def test_a_store_that_fails_for_a_moment_is_written_again(
    store: Store, endpoint: Endpoint, clock: Clock
) -> None:
    def recover(found: TokenPair) -> None:
        if found.refresh_token == "rt-1":
            store.writes = 0 if len(clock.slept) < 4 else None

    store.before_save = recover
    assert keeper(store, endpoint).current().token == "at-1"
    assert store.pair is not None
    assert store.pair.refresh_token == "rt-1"


def test_a_pair_that_is_not_kept_is_not_used_and_the_error_says_until_when_access_remains(
    clock: Clock,
) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=16 * DAY)))
    store.writes = 1
    rotating = keeper(store, endpoint)
    with pytest.raises(PairNotKeptError) as caught:
        rotating.rotate()
    assert "Access ends at 2026-08-15 12:00 UTC." in str(caught.value)
    assert "connect the system to Makini again" in caught.value.remedy
    assert not caught.value.retryable
    assert not [secret for secret in ("at-1", "rt-1", "rt-7") if secret in str(caught.value)]
    # The same process still has it: as soon as the store is there again, nothing is lost.
    store.writes = None
    assert rotating.current().token == "at-1"
    assert store.pair is not None
    assert store.pair.refresh_token == "rt-1"


def test_a_task_that_is_stopped_while_it_keeps_a_pair_keeps_it_first(
    store: Store, endpoint: Endpoint
) -> None:
    class Stopped(BaseException):
        pass

    def stopped(found: TokenPair) -> None:
        if found.refresh_token == "rt-1":
            store.before_save = lambda _: None
            raise Stopped

    store.before_save = stopped
    with pytest.raises(Stopped):
        keeper(store, endpoint).current()
    assert store.pair is not None
    assert store.pair.refresh_token == "rt-1"


def test_a_pair_of_a_first_use_that_is_not_kept_says_that_access_is_lost(
    store: Store, endpoint: Endpoint
) -> None:
    store.writes = 1
    with pytest.raises(PairNotKeptError, match="is lost when this process ends"):
        keeper(store, endpoint).current()


def test_a_store_that_takes_nothing_over_what_it_has_not_shown_takes_the_new_pair(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=OLD)))
    changed = [True]

    def compare(found: TokenPair) -> None:
        if found.refresh_token == "rt-1" and changed.pop() if changed else False:
            raise TokenStoreChangedError("somebody else wrote")

    store.before_save = compare
    assert keeper(store, endpoint).current().token == "at-1"
    assert store.pair is not None
    assert store.pair.refresh_token == "rt-1"


# Two at once.


def test_who_finds_another_at_it_waits_for_what_that_one_gets(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7")
    busy = replace(taken(pair(7, age=OLD)), refreshing=Refreshing("other", NOW))
    store = Store(busy)
    sleep = clock.sleep

    def other_ends(seconds: float) -> None:
        sleep(seconds)
        if len(clock.slept) == 3:
            store.pair = taken(replace(pair(9), obtained_at=clock.now, expires_at=clock.now + 30 * DAY))

    clock.sleep = other_ends  # type: ignore[method-assign]
    assert keeper(store, endpoint).current().token == "at-9"
    assert endpoint.asked == []


def test_who_never_ends_is_taken_for_dead(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7")
    store = Store(replace(taken(pair(7, age=OLD)), refreshing=Refreshing("other", NOW)))
    assert keeper(store, endpoint).current().token == "at-1"
    assert PATIENCE <= timedelta(seconds=sum(clock.slept)) < PATIENCE + timedelta(seconds=10)


def test_a_mark_from_the_future_does_not_stop_anybody_for_long(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7")
    store = Store(replace(taken(pair(7, age=OLD)), refreshing=Refreshing("other", NOW + DAY)))
    assert keeper(store, endpoint).current().token == "at-1"


def test_who_marks_last_goes_on_and_the_other_waits(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7")
    store = Store(taken(pair(7, age=OLD)))
    sleep = clock.sleep

    def other(seconds: float) -> None:
        sleep(seconds)
        assert store.pair is not None
        if len(clock.slept) == 1:
            store.pair = replace(store.pair, refreshing=Refreshing("other", clock.now))
        if len(clock.slept) == 3:
            store.pair = taken(replace(pair(9), obtained_at=clock.now, expires_at=clock.now + 30 * DAY))

    clock.sleep = other  # type: ignore[method-assign]
    assert keeper(store, endpoint).current().token == "at-9"
    assert endpoint.asked == []


def test_a_mark_that_fails_since_another_wrote_is_no_fault_of_the_store(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7")
    store = Store(taken(pair(7, age=OLD)))

    def other_wrote(found: TokenPair) -> None:
        store.before_save = lambda _: None
        store.pair = taken(replace(pair(9), obtained_at=clock.now, expires_at=clock.now + 30 * DAY))
        raise TokenStoreChangedError("somebody else wrote")

    store.before_save = other_wrote
    assert keeper(store, endpoint).current().token == "at-9"
    assert endpoint.asked == []


def test_after_a_refusal_the_store_is_read_again_and_the_newer_pair_used(clock: Clock) -> None:
    endpoint = Endpoint(clock)
    store = Store(taken(pair(7, age=OLD)))
    sleep = clock.sleep

    def other_keeps(seconds: float) -> None:
        sleep(seconds)
        if len(clock.slept) == 3:  # the mark, and two looks after the refusal
            store.pair = taken(replace(pair(9), obtained_at=clock.now, expires_at=clock.now + 30 * DAY))

    clock.sleep = other_keeps  # type: ignore[method-assign]
    assert keeper(store, endpoint).current().token == "at-9"
    assert endpoint.asked == ["rt-7"]


# What is lost, and what is said.


@pytest.mark.parametrize("failure", [MakiniConnectionError("cut"), MakiniServerError("503", status=503)])
def test_an_answer_that_never_came_is_told_by_the_next_refusal(clock: Clock, failure: Exception) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=OLD)))
    endpoint.lost = failure
    with pytest.raises(type(failure)):
        keeper(store, endpoint).current()
    endpoint.lost = None
    for _ in range(2):
        clock.now += timedelta(hours=1)
        with pytest.raises(RefreshTokenRefusedError) as caught:
            keeper(store, endpoint).current()
        assert "A refresh that began at 2026-08-01 12:00:00 UTC was cut off" in str(caught.value)
        assert caught.value.remedy.startswith("Connect the system to Makini again")
    assert timedelta(seconds=sum(clock.slept)) < timedelta(minutes=1)


def test_an_answer_that_never_came_to_a_request_that_was_not_carried_out_loses_nothing(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=OLD)))
    endpoint.failure = MakiniConnectionError("no route")
    with pytest.raises(MakiniConnectionError):
        keeper(store, endpoint).current()
    endpoint.failure = None
    assert keeper(store, endpoint).current().token == "at-1"
    assert store.pair is not None
    assert store.pair.refreshing is None


def test_a_refusal_of_the_client_leaves_the_pair_as_it_was(clock: Clock) -> None:
    before = taken(pair(7, age=OLD))
    endpoint, store = Endpoint(clock, "rt-7"), Store(before)
    endpoint.failure = ClientRefusedError("no", status=401)
    with pytest.raises(ClientRefusedError):
        keeper(store, endpoint).current()
    assert store.pair == before


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (pair(7, age=OLD), "It is of 2026-06-22, and lives 31 days: nothing has refreshed it in time."),
        (
            pair(7, age=3 * DAY, life=DAY),
            "It is of 2026-07-29 12:00 UTC, and was revoked, or used by somebody",
        ),
        (
            None,
            "the refresh token in the connection's extra any more. It was used before, has expired, or was",
        ),
    ],
)
def test_a_refusal_says_what_is_known_of_its_cause(clock: Clock, kept: TokenPair | None, words: str) -> None:
    endpoint, store = Endpoint(clock), Store(taken(kept) if kept else None)
    for _ in range(2):
        with pytest.raises(RefreshTokenRefusedError) as caught:
            keeper(store, endpoint).current()
        assert words in str(caught.value)
        assert "'acme'" in str(caught.value)
        assert not [secret for secret in (SEED, "rt-7", "at-7") if secret in str(caught.value)]
        assert caught.value.status == 400


# Ahead of time.


@pytest.mark.parametrize(("age", "refreshed"), [(14 * DAY, False), (15 * DAY, True)])
def test_a_pair_is_rotated_once_half_of_its_life_is_over(
    clock: Clock, age: timedelta, refreshed: bool
) -> None:
    endpoint, store = Endpoint(clock, "rt-7"), Store(taken(pair(7, age=age)))
    rotation = keeper(store, endpoint).rotate()
    assert rotation.refreshed is refreshed
    assert endpoint.asked == (["rt-7"] if refreshed else [])
    report = rotation.report()
    assert report["token_store"] == "memory://acme"
    assert (report["age_days"], report["days_left"]) == ((0, 30.0) if refreshed else (14.0, 16.0))
    assert not [secret for secret in ("at-", "rt-") if secret in str(report)]


def test_a_pair_that_does_not_tell_its_end_is_rotated_daily(clock: Clock) -> None:
    endpoint = Endpoint(clock, "rt-7", life=None)
    store = Store(taken(pair(7, life=None)))
    assert not keeper(store, endpoint).rotate().refreshed
    clock.now += DAY
    rotation = keeper(store, endpoint).rotate()
    assert rotation.refreshed
    assert rotation.report()["days_left"] is None


def test_the_first_rotation_takes_the_refresh_token_of_the_connection(
    store: Store, endpoint: Endpoint
) -> None:
    assert keeper(store, endpoint).rotate().refreshed


# Who only looks.


def test_who_may_not_refresh_uses_what_is_kept_and_spends_nothing(clock: Clock) -> None:
    endpoint, store = Endpoint(clock, "rt-7", SEED), Store(taken(pair(7)))
    looking = keeper(store, endpoint, may_refresh=False)
    assert looking.current().token == "at-7"
    assert looking.current(refused="at-7").token == "at-7"
    clock.now += 30 * DAY
    with pytest.raises(MakiniConfigurationError, match="holds no access token that is good now"):
        looking.current()
    store.pair = None
    with pytest.raises(MakiniConfigurationError, match="makini_token_rotation"):
        looking.current()
    assert endpoint.asked == []
    assert store.saved == []
