"""Several processes on one pair of tokens, in every order of steps, killed at any: nothing is lost unseen.

Each process runs in a thread that stops at every step to the outside (a read or write of the store, a
request, an answer, a sleep). One of those that can go on is chosen by chance, or the time moves on. What a
store and a network are trusted with stands in ``LONGEST``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest
from rotating import NOW, SEED

from makini_provider.api.errors import MakiniConnectionError, RefreshTokenRefusedError
from makini_provider.api.oauth import IssuedToken
from makini_provider.api.rotation import SETTLE_SECONDS, PairKeeper
from makini_provider.api.token_pair import Refreshing, TokenPair

LONGEST: Final = {"load": 300.0, "mark": SETTLE_SECONDS * 0.9, "send": 20.0, "answer": 40.0, "keep": 20.0}
"""Seconds that a step may take; a mark's count from the read before it."""
SCHEDULES: Final = 600
ROUND: Final = timedelta(days=30)


class Killed(BaseException):
    """A process ends here."""


class World:
    """The store, the endpoint and the time that all processes share.

    :param seed: of all that happens by chance
    :param deadly: whether processes are killed and answers lost
    """

    def __init__(self, seed: int, *, deadly: bool) -> None:
        self.chance = random.Random(seed)
        self.deadly = deadly
        self.time = 0.0
        self.pair: TokenPair | None = None
        self.good = {SEED}
        self.given = 0
        self.refused = 0
        self.lost: set[str] = set()
        """Refresh tokens that were given and that no process was left to keep."""

    def now(self) -> object:
        return NOW + timedelta(seconds=self.time)

    def run(self, *work: Callable[[Process], None]) -> list[Process]:
        """Let processes work until each has ended."""
        processes = [Process(self, one) for one in work]
        while alive := [process for process in processes if process.step is not None]:
            ready = [process for process in alive if process.wakes <= self.time]
            move = self._next_time(alive)
            if ready and (move is None or self.chance.random() < 0.8):
                self.chance.choice(ready).go_on(kill=self.deadly and self.chance.random() < 0.03)
            else:
                assert move is not None
                self.time = move
        return processes

    def _next_time(self, alive: list[Process]) -> float | None:
        """When the time can move to without anything taking longer than it may."""
        limit = min(process.limit for process in alive)
        wakes = [process.wakes for process in alive if process.wakes > self.time]
        to = min([*wakes, self.time + self.chance.choice([0.2, 1.0, 5.0, 30.0])])
        return min(to, limit) if min(to, limit) > self.time else None


class Process:
    """One process with a keeper of its own, as a thread that stands still between its steps."""

    def __init__(self, world: World, work: Callable[[Process], None]) -> None:
        self.world = world
        self.error: Exception | None = None
        self.token: IssuedToken | None = None
        self.step: str | None = "start"
        self.wakes = self.since = self.read = world.time
        self.unkept: str | None = None
        self._kill = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._live, args=(work,), daemon=True).start()

    @property
    def limit(self) -> float:
        start = self.read if self.step == "mark" else self.since
        return self.wakes if self.step == "sleep" else start + LONGEST.get(self.step or "", 300.0)

    def go_on(self, *, kill: bool) -> None:
        self._kill = kill
        self._go.release()
        assert self._stands.acquire(timeout=20)

    def keeper(self, kind: type[PairKeeper] = PairKeeper) -> PairKeeper:
        return kind(
            self,
            SEED,
            self.refresh,
            now=self.world.now,  # type: ignore[arg-type]
            tell=lambda _: None,
            conn_id="acme",
            sleep=self.sleep,
        )

    def _live(self, work: Callable[[Process], None]) -> None:
        try:
            self._stand()
            work(self)
        except Killed:
            if self.unkept:
                self.world.lost.add(self.unkept)
        except Exception as error:
            self.error = error
        self.step = None
        self._stands.release()

    def _stand(self) -> None:
        self._go.acquire()
        if self._kill:
            raise Killed

    def _stop(self, step: str, seconds: float = 0.0) -> None:
        self.step, self.since, self.wakes = step, self.world.time, self.world.time + seconds
        self._stands.release()
        self._stand()

    # The outside.

    name = "memory://acme"

    def load(self) -> TokenPair | None:
        self._stop("load")
        self.read = self.world.time
        return self.world.pair

    def save(self, pair: TokenPair) -> None:
        self._stop("mark" if pair.refreshing else "keep")
        self.world.pair = pair
        if pair.refresh_token == self.unkept:
            self.unkept = None

    def sleep(self, seconds: float) -> None:
        self._stop("sleep", seconds)

    def refresh(self, pair: TokenPair) -> IssuedToken:
        world = self.world
        self._stop("send")
        if pair.refresh_token not in world.good:
            world.refused += 1
            self._stop("answer")
            raise RefreshTokenRefusedError("refused", status=400)
        world.good.remove(pair.refresh_token)
        world.given += 1
        number, issued_at = world.given, NOW + timedelta(seconds=world.time)
        world.good.add(f"rt-{number}")
        self.unkept = f"rt-{number}"
        self._stop("answer")
        if world.deadly and world.chance.random() < 0.05:
            world.lost.add(self.unkept)
            raise MakiniConnectionError("cut off")
        return IssuedToken(f"at-{number}", issued_at, issued_at + ROUND, f"rt-{number}")


def play(seed: int, *, deadly: bool, kind: type[PairKeeper] = PairKeeper) -> World:
    """Three processes, two rounds a month apart; then one that is alone, and what it must find."""
    world = World(seed, deadly=deadly)
    if world.chance.random() < 0.5:
        world.pair = TokenPair("at-0", SEED, NOW - ROUND, NOW)
        if world.chance.random() < 0.3:
            world.pair = TokenPair(
                "at-0", SEED, NOW - ROUND, NOW, Refreshing("dead", NOW - timedelta(hours=1))
            )

    def use(process: Process) -> None:
        process.token = process.keeper(kind).current()

    for _ in range(2):
        processes = world.run(use, use, use)
        for process in processes:
            check(world, process)
        world.time += ROUND.total_seconds()
    deadly_before, world.deadly = world.deadly, False
    (last,) = world.run(use)
    check(world, last)
    if not deadly_before:
        assert last.error is None
        assert world.refused == 0
        assert world.given == 3
    if last.error is None:
        assert world.pair is not None
        assert world.pair.refresh_token in world.good
    return world


def check(world: World, process: Process) -> None:
    """A process gets a token that is good, or is told what was lost; that it is, is true."""
    error = process.error
    if isinstance(error, RefreshTokenRefusedError):
        assert world.lost
        assert "was cut off before the new pair was kept" in str(error)
    elif error is not None:
        assert isinstance(error, MakiniConnectionError), repr(error)
        assert world.lost


@pytest.mark.parametrize("part", range(4))
def test_processes_that_all_want_to_refresh_spend_each_refresh_token_once(part: int) -> None:
    for seed in range(part, SCHEDULES, 4):
        play(seed, deadly=False)


@pytest.mark.parametrize("part", range(4))
def test_a_pair_is_lost_by_a_crash_between_answer_and_store_alone_and_then_it_is_said(part: int) -> None:
    worlds = [play(seed, deadly=True) for seed in range(part, SCHEDULES, 4)]
    assert any(world.lost for world in worlds)
    assert not all(world.lost for world in worlds)


class _NeverLooksAgain(PairKeeper):
    def _has_marked(self, marked: TokenPair) -> bool:
        self._store.save(marked)
        return True


class _KeepsNothing(PairKeeper):
    def _keep(self, pair: TokenPair, instead_of: TokenPair | None = None) -> TokenPair:
        return pair


@pytest.mark.parametrize("kind", [_NeverLooksAgain, _KeepsNothing])
def test_a_keeper_with_a_mistake_is_found_out(kind: type[PairKeeper]) -> None:
    def play_all() -> None:
        for seed in range(SCHEDULES):
            play(seed, deadly=False, kind=kind)

    with pytest.raises(AssertionError):
        play_all()
