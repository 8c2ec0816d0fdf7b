"""A token endpoint, a store and a clock to try rotation on, all in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from makini_provider.api.errors import RefreshTokenRefusedError, TokenStoreError
from makini_provider.api.oauth import IssuedToken
from makini_provider.api.rotation import PairKeeper
from makini_provider.api.token_pair import TokenPair

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
SEED = "rt-seed"


class Clock:
    """Sleeping lets the time go by."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


class Endpoint:
    """Knows which refresh token is good, and spends it.

    :param lost: what is raised after a refresh was carried out, in place of its answer
    """

    def __init__(self, clock: Clock, *good: str, life: timedelta | None = timedelta(days=30)) -> None:
        self.clock = clock
        self.good = set(good)
        self.life = life
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.lost: Exception | None = None
        self.given = 0

    def refresh(self, pair: TokenPair) -> IssuedToken:
        self.asked.append(pair.refresh_token)
        if self.failure is not None:
            raise self.failure
        if pair.refresh_token not in self.good:
            raise RefreshTokenRefusedError("POST /link/token was answered with 400.", status=400)
        self.good.remove(pair.refresh_token)
        self.given += 1
        self.good.add(f"rt-{self.given}")
        if self.lost is not None:
            raise self.lost
        now = self.clock.now
        return IssuedToken(
            f"at-{self.given}", now, now + self.life if self.life else None, f"rt-{self.given}"
        )


class Store:
    """Holds a pair; can be down for reading or writing.

    :param writes: how many writes are still taken; ``None`` for all
    """

    name = "memory://acme"

    def __init__(self, pair: TokenPair | None = None) -> None:
        self.pair = pair
        self.readable = True
        self.writes: int | None = None
        self.saved: list[TokenPair] = []
        self.before_save: Callable[[TokenPair], None] = lambda _: None

    def load(self) -> TokenPair | None:
        if not self.readable:
            raise TokenStoreError("token store 'memory://acme' can't be read: down.")
        return self.pair

    def save(self, pair: TokenPair) -> None:
        self.before_save(pair)
        if self.writes is not None:
            if self.writes == 0:
                raise TokenStoreError("token store 'memory://acme' can't be written: down.")
            self.writes -= 1
        self.pair = pair
        self.saved.append(pair)


def pair(
    number: int, *, age: timedelta = timedelta(0), life: timedelta | None = timedelta(days=30)
) -> TokenPair:
    """The pair that the endpoint gives as its ``number``-th."""
    obtained = NOW - age
    return TokenPair(f"at-{number}", f"rt-{number}", obtained, obtained + life if life else None)


def keeper(
    store: Store,
    endpoint: Endpoint,
    *,
    seed: str | None = SEED,
    told: list[str] | None = None,
    may_refresh: bool = True,
) -> PairKeeper:
    return PairKeeper(
        store,
        seed,
        endpoint.refresh,
        now=lambda: endpoint.clock.now,
        tell=(told if told is not None else []).append,
        conn_id="acme",
        may_refresh=may_refresh,
        sleep=endpoint.clock.sleep,
    )
