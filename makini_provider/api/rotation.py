"""Pairs of tokens that rotate: each refresh token is good once, so what replaces it must never be lost.

A store has no compare-and-set that all of them share, so two processes could spend one refresh token at once.
What keeps them apart is Fischer's algorithm, which needs nothing but reading and writing one place: who wants
to refresh writes its name into the place, waits, and goes on only where its name is still there. It holds as
long as a write lands within :data:`SETTLE_SECONDS` after the read before it; where that fails, the one who is
refused looks into the store again and finds what the other got. The write shows, too, that the store can be
written, before anything is spent.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniConnectionError,
    MakiniError,
    MakiniProtocolError,
    MakiniServerError,
    PairNotKeptError,
    RefreshTokenRefusedError,
    TokenStoreChangedError,
    TokenStoreError,
)
from makini_provider.api.oauth import IssuedToken, is_good
from makini_provider.api.token_pair import Refreshing, TokenPair, TokenStore

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 2.0
"""How long a write of the store may take after the read before it."""
PATIENCE: Final = timedelta(seconds=120)
"""How long another process may be busy with a refresh before it is taken for dead."""
NEW_FOR: Final = timedelta(hours=1)
"""How old a pair must be to be replaced because the API refuses its access token before its end."""
REFRESH_TOKEN_LIFE: Final = timedelta(days=31)
"""By Makini's documentation."""

_DAY: Final = timedelta(days=1)
_LOOK_EVERY: Final = 2.0
_LOOKS_AFTER_REFUSAL: Final = 4
_WAITS_BETWEEN_SAVES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_MOST_SEEDS: Final = 20
_MOST_MARKS: Final = 20
_UNKNOWN_OUTCOME: Final = (MakiniConnectionError, MakiniServerError, MakiniProtocolError)
_NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How a pair stands after it was looked at.

    :param token_store: where it is
    :param refreshed: whether it was replaced just now
    :param obtained_at: when the API gave it
    :param expires_at: when its access token ends, where that is known
    :param now: the present, by the server's clock
    """

    token_store: str
    refreshed: bool
    obtained_at: datetime
    expires_at: datetime | None
    now: datetime

    def report(self) -> dict[str, Any]:
        """The same as JSON; it holds no token."""
        left = (self.expires_at - self.now) / _DAY if self.expires_at else None
        return {
            "token_store": self.token_store,
            "refreshed": self.refreshed,
            "obtained_at": self.obtained_at.isoformat(),
            "age_days": round((self.now - self.obtained_at) / _DAY, 2),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "days_left": round(left, 2) if left is not None else None,
        }


class PairKeeper:
    """Gives the access token of a pair that is kept in a store, and replaces the pair when it must.

    :param store: holds the pair, for all processes
    :param seed: the refresh token of the connection, to begin with; once it is taken, the store counts, until
        another one stands in the connection
    :param refresh: spends the refresh token of a pair
    :param now: the time by the server's clock
    :param tell: is told each token before it is used
    :param conn_id: names the connection in errors
    :param may_refresh: whether a refresh token may be spent
    :param sleep: waits so many seconds; replaced by tests
    """

    def __init__(
        self,
        store: TokenStore,
        seed: str | None,
        refresh: Callable[[TokenPair], IssuedToken],
        *,
        now: Callable[[], datetime],
        tell: Callable[[str], None],
        conn_id: str,
        may_refresh: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._seed = seed
        self._refresh = refresh
        self._now = now
        self._tell = tell
        self._conn_id = conn_id
        self._may_refresh = may_refresh
        self._sleep = sleep
        self._unkept: TokenPair | None = None

    def kept(self) -> TokenPair | None:
        """The pair in the store; ``None`` where there is none.

        :raises TokenStoreError: the store can't be read
        """
        pair = self._store.load()
        if pair is not None:
            for secret in (pair.access_token, pair.refresh_token):
                if secret:
                    self._tell(secret)
        return pair

    def current(self, refused: str | None = None) -> IssuedToken:
        """An access token that is good now: the kept one, or that of a new pair.

        :param refused: an access token that the API did not accept
        :raises RefreshTokenRefusedError: there is no way to a new pair but to connect the system again
        :raises PairNotKeptError: a new pair came, and the store does not take it
        :raises TokenStoreError: the store can't be read, or not be written: nothing was spent
        """
        pair = self._keep(self._unkept) if self._unkept is not None else self.kept()
        if pair is None or not (self._serves(pair, refused) or self._is_refused_for_good(pair, refused)):
            if not self._may_refresh:
                raise MakiniConfigurationError(
                    f"connection {self._conn_id!r}: {self._store.name} holds no access token that is good "
                    "now, and here none is asked for, since that spends the refresh token.",
                    remedy="Run a task that uses the connection, or the DAG makini_token_rotation.",
                )
            pair = self._replaced(refused)
        return IssuedToken(pair.access_token, pair.obtained_at, pair.expires_at)

    def rotate(self) -> Rotation:
        """Replace the pair ahead of time, where it is due; the errors are those of :meth:`current`."""
        pair = self._keep(self._unkept) if self._unkept is not None else self.kept()
        due = self._is_due(pair)
        if due:
            pair = self._replaced(pair.access_token if pair is not None else None)
        assert pair is not None  # noqa: S101  (one that is missing is due)
        return Rotation(self._store.name, due, pair.obtained_at, pair.expires_at, self._now())

    def _is_due(self, pair: TokenPair | None) -> bool:
        """Whether half of the access token's life is over; one that does not tell its end lives two days."""
        if pair is None or not pair.access_token or pair.refreshing is not None or self._has_new_seed(pair):
            return True
        ends = pair.expires_at or pair.obtained_at + timedelta(days=2)
        return self._now() >= pair.obtained_at + (ends - pair.obtained_at) / 2

    # What a pair is good for

    def _serves(self, pair: TokenPair, refused: str | None) -> bool:
        return (
            pair.access_token not in ("", refused)
            and is_good(pair.obtained_at, pair.expires_at, self._now())
            and not self._has_new_seed(pair)
        )

    def _is_refused_for_good(self, pair: TokenPair, refused: str | None) -> bool:
        """Whether another token would be refused as well: a new one was, so it is not the token's fault.

        Else each task of a connection that must be authorized again would use up a refresh token.
        """
        if pair.access_token != refused or not self._serves(pair, None):
            return False
        return not self._may_refresh or self._now() - pair.obtained_at < NEW_FOR

    def _has_new_seed(self, pair: TokenPair | None) -> bool:
        if self._seed is None:
            return False
        return pair is None or (
            self._seed != pair.refresh_token and fingerprint(self._seed) not in pair.seeds
        )

    # A new pair

    def _replaced(self, refused: str | None) -> TokenPair:
        looked_on = timedelta(0)
        marks = 0
        while marks < _MOST_MARKS:
            pair = self.kept()
            if pair is not None and self._serves(pair, refused):
                return pair
            if pair is None and self._seed is None:
                raise MakiniConfigurationError(
                    f"connection {self._conn_id!r}: {self._store.name} holds no pair of tokens yet, and "
                    "extra 'refresh_token' is empty.",
                    remedy="Put the refresh token from connecting the system to Makini into extra "
                    "'refresh_token'; it is used once.",
                )
            if pair is not None and self._is_busy(pair.refreshing) and looked_on < PATIENCE:
                self._sleep(_LOOK_EVERY)
                looked_on += timedelta(seconds=_LOOK_EVERY)
                continue
            marked = self._marked(pair)
            marks += 1
            if not self._has_marked(marked):
                continue  # Another process wants to refresh at the same moment, and wrote later.
            replaced = self._spent(pair, marked)
            if replaced is not None:
                return replaced
        raise TokenStoreError(
            f"token store {self._store.name!r} does not show what was written to it {SETTLE_SECONDS:g} s "
            f"before, {marks} times in a row.",
            remedy="Use a store whose reads see the last write.",
        )

    def _has_marked(self, marked: TokenPair) -> bool:
        try:
            self._store.save(marked)
        except TokenStoreChangedError:
            return False
        except TokenStoreError:
            # A store may read again what it wrote: where it finds another's mark, it was not at fault.
            pair = self.kept()
            if pair is None or pair.refreshing == marked.refreshing or not self._is_busy(pair.refreshing):
                raise
            return False
        self._sleep(SETTLE_SECONDS)
        return self.kept() == marked

    def _is_busy(self, refreshing: Refreshing | None) -> bool:
        return (
            refreshing is not None
            and refreshing.by != _NOBODY
            and abs(self._now() - refreshing.since) < PATIENCE
        )

    def _marked(self, pair: TokenPair | None) -> TokenPair:
        now = self._now()
        kept = pair or TokenPair("", self._seed or "", obtained_at=now)
        return replace(kept, refreshing=Refreshing(uuid.uuid4().hex, now))

    def _spent(self, pair: TokenPair | None, marked: TokenPair) -> TokenPair | None:
        """Spend the refresh token that is due.

        :param pair: what was kept before it was marked
        :param marked: what is kept now
        :return: the new pair; ``None`` where the store is to be looked at again
        """
        if not self._is_busy(marked.refreshing):
            return None  # This process stood still for so long that another may be at it.
        new_seed = self._has_new_seed(pair)
        # Whole pairs are handed about, since they do not show in what records a frame's variables.
        spent = replace(marked, refresh_token=self._seed) if new_seed and self._seed is not None else marked
        interrupted = pair.refreshing if pair is not None else None
        try:
            got = self._refresh(spent)
        except RefreshTokenRefusedError as error:
            if self._was_replaced(marked):
                return None
            if new_seed and pair is not None and pair.access_token:
                log.warning(
                    "Connection %r: the refresh token in its extra is refused (%s); the pair in %s goes on.",
                    self._conn_id,
                    error,
                    self._store.name,
                )
                self._store.save(self._with_seed(replace(marked, refreshing=interrupted)))
                return None
            self._release(marked, interrupted)
            raise self._explained(error, spent, interrupted) from error
        except _UNKNOWN_OUTCOME:
            # Nobody works on it any more, and what came of it will show.
            began = (interrupted or marked.refreshing or Refreshing(_NOBODY, self._now())).since
            self._release(marked, Refreshing(_NOBODY, began))
            raise
        except MakiniError:
            self._release(marked, interrupted)
            raise
        for secret in (got.token, got.refresh_token):
            if secret:
                self._tell(secret)
        new = TokenPair(
            got.token,
            got.refresh_token or spent.refresh_token,
            got.issued_at,
            got.expires_at,
            seeds=marked.seeds,
        )
        return self._keep(self._with_seed(new), instead_of=marked)

    def _with_seed(self, pair: TokenPair) -> TokenPair:
        if self._seed is None:
            return pair
        seeds = [one for one in pair.seeds if one != fingerprint(self._seed)]
        return replace(pair, seeds=(*seeds, fingerprint(self._seed))[-_MOST_SEEDS:])

    def _was_replaced(self, marked: TokenPair) -> bool:
        """Whether another process got a new pair; it may take a moment to keep it."""
        for look in range(_LOOKS_AFTER_REFUSAL):
            if look:
                self._sleep(_LOOK_EVERY)
            pair = self.kept()
            if pair is not None and pair.refresh_token != marked.refresh_token:
                return True
        return False

    def _release(self, marked: TokenPair, refreshing: Refreshing | None) -> None:
        try:
            if self.kept() == marked:
                self._store.save(replace(marked, refreshing=refreshing))
        except TokenStoreError as error:
            # What is kept is still true; the next one who refreshes waits somewhat longer.
            log.warning("Connection %r: %s", self._conn_id, error)

    def _keep(self, pair: TokenPair, instead_of: TokenPair | None = None) -> TokenPair:
        self._unkept = pair
        try:
            self._save(pair, instead_of)
        except Exception:
            raise
        except BaseException:
            # The task is stopped (killed by hand, timed out): there is time for one more try.
            with suppress(TokenStoreError):
                self._store.save(pair)
            raise
        self._unkept = None
        log.info(
            "Connection %r: a new pair of tokens is in %s; its access token ends %s.",
            self._conn_id,
            self._store.name,
            f"{pair.expires_at:%Y-%m-%d %H:%M} UTC" if pair.expires_at else "at a time that is not told",
        )
        return pair

    def _save(self, pair: TokenPair, instead_of: TokenPair | None) -> None:
        for wait in (*_WAITS_BETWEEN_SAVES, None):
            try:
                self._store.save(pair)
            except TokenStoreError as error:
                if wait is None:
                    raise self._not_kept(error, instead_of) from error
                log.warning("Connection %r: %s Trying again in %.1f s.", self._conn_id, error, wait)
                self._sleep(wait)
                # A store that takes nothing over what it has not shown shows it: this pair is the newest.
                with suppress(TokenStoreError):
                    self._store.load()
            else:
                return

    # What to say

    def _not_kept(self, error: TokenStoreError, before: TokenPair | None) -> PairNotKeptError:
        ends = before.expires_at if before is not None else None
        still_good = ends is not None and before is not None and before.access_token and ends > self._now()
        cause = error.message.rstrip(".")
        return PairNotKeptError(
            f"connection {self._conn_id!r}: Makini has replaced the pair of tokens, and {self._store.name} "
            f"does not take the new one ({cause}). The refresh token that it holds is spent. Access "
            + (f"ends at {ends:%Y-%m-%d %H:%M} UTC." if still_good else "is lost when this process ends."),
            remedy=f"Make the store writable again; {_RECONNECT}",
        )

    def _explained(
        self,
        error: RefreshTokenRefusedError,
        pair: TokenPair,
        interrupted: Refreshing | None,
    ) -> RefreshTokenRefusedError:
        from_extra = pair.refresh_token == self._seed
        where = "in the connection's extra" if from_extra else f"in {self._store.name}"
        if interrupted is not None:
            why = (
                f"A refresh that began at {interrupted.since:%Y-%m-%d %H:%M:%S} UTC was cut off before the "
                "new pair was kept, so that this token is spent and the one that replaced it is lost."
            )
        elif from_extra:
            why = "It was used before, has expired, or was revoked."
        elif self._now() - pair.obtained_at > REFRESH_TOKEN_LIFE:
            why = (
                f"It is of {pair.obtained_at:%Y-%m-%d}, and lives {REFRESH_TOKEN_LIFE.days} days: "
                "nothing has refreshed it in time."
            )
        else:
            why = (
                f"It is of {pair.obtained_at:%Y-%m-%d %H:%M} UTC, and was revoked, or used by somebody else."
            )
        return RefreshTokenRefusedError(
            f"connection {self._conn_id!r}: Makini does not accept the refresh token {where} any more. {why}",
            remedy=f"{_RECONNECT[0].upper()}{_RECONNECT[1:]}",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        )


_RECONNECT: Final = (
    "connect the system to Makini again, and put the new refresh token into extra 'refresh_token' of the "
    "connection: it takes the place of what the store holds."
)


def fingerprint(token: str) -> str:
    """What a refresh token is recognised by, and can't be made from again."""
    return hashlib.sha256(f"makini refresh token:{token}".encode()).hexdigest()[:32]
