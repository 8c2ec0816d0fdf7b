"""What a refresh token's holder keeps: both tokens of a pair, together, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Refreshing:
    """That somebody is about to spend a pair's refresh token, written down before it is done.

    :param by: a random name of who does it
    :param since: when it was written down
    """

    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token that replaces it, once.

    :param access_token: what goes behind ``Bearer``; empty where only a refresh token is known so far
    :param refresh_token: good for one call of ``POST /link/token``
    :param obtained_at: when the API gave the pair
    :param expires_at: when the access token ends; ``None`` where the API did not say
    :param refreshing: set while a refresh is under way, and where one was never brought to its end
    :param seeds: fingerprints of the refresh tokens that were given in the connection and have been taken
        from there: one that is not among them is new
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    obtained_at: datetime
    expires_at: datetime | None = None
    refreshing: Refreshing | None = None
    seeds: tuple[str, ...] = ()


class TokenStore(Protocol):
    """One durable place that holds one connection's pair; what it keeps is kept whole or not at all."""

    @property
    def name(self) -> str:
        """Where it is, for messages and logs; holds no secret."""
        ...

    def load(self) -> TokenPair | None:
        """Read the pair anew, past any cache; ``None`` where none was kept yet.

        :raises TokenStoreError: it can't be read, or what it holds is no pair
        """
        ...

    def save(self, pair: TokenPair) -> None:
        """Keep a pair, all fields of it, in place of the one before; when this returns, it is durable.

        :raises TokenStoreError: it can't be written
        """
        ...
