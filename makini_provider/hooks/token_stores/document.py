"""A pair of tokens as one JSON document in one place: whole or not at all."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from airflow.sdk.log import mask_secret

from makini_provider.api.errors import TokenStoreError, TokenStoreUnusableError
from makini_provider.api.token_pair import TokenPair


class Place(Protocol):
    """Where one text is kept."""

    @property
    def name(self) -> str:
        """For messages and logs; holds no secret."""
        ...

    def read(self) -> str | None:
        """Return the newest text, past any cache; ``None`` only where the place says that it has none.

        :raises TokenStoreError: it could not be asked
        """
        ...

    def write(self, text: str) -> None:
        """Keep this text in place of the one before; when this returns, it is durable.

        :raises TokenStoreError: it could not be kept
        """
        ...


class _Document(msgspec.Struct, kw_only=True):
    format_version: Literal[1]
    connection: str
    tokens: TokenPair


class DocumentStore:
    """A token store at a place.

    :param place: where the document is
    :param conn_id: whose tokens they are; a document of another connection is refused, for its records would
        be taken for this one's
    """

    def __init__(self, place: Place, conn_id: str) -> None:
        self._place = place
        self._conn_id = conn_id

    @property
    def name(self) -> str:
        """Where it is, for messages and logs."""
        return self._place.name

    def __repr__(self) -> str:
        return f"<token store {self.name!r} of connection {self._conn_id!r}>"

    def load(self) -> TokenPair | None:
        """Read the pair anew; ``None`` where none was kept yet.

        :raises TokenStoreError: it can't be read
        :raises TokenStoreUnusableError: what is there is no pair, or another connection's
        """
        text = self._place.read()
        if text is None:
            return None
        pair = self._parsed(text)
        _mask(pair)
        return pair

    def save(self, pair: TokenPair) -> None:
        """Keep a pair in place of the one before; when this returns, the pair is durable.

        :raises TokenStoreError: it can't be written
        """
        _mask(pair)
        document = _Document(format_version=1, connection=self._conn_id, tokens=pair)
        self._place.write(msgspec.json.encode(document).decode())

    def _parsed(self, text: str) -> TokenPair:
        try:
            document = msgspec.json.decode(text, type=_Document)
            pair = document.tokens
            refreshing = pair.refreshing.since if pair.refreshing else None
            times = [time for time in (pair.obtained_at, pair.expires_at, refreshing) if time]
            whole = bool(pair.refresh_token) and all(time.tzinfo for time in times)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            whole = False
        if not whole:
            raise TokenStoreUnusableError(
                f"token store {self.name!r} holds something that is not a pair of tokens of this provider.",
                remedy="Nothing was overwritten. Give token_store a place of its own; or, where the value is "
                "a pair that was damaged, delete it and put a new refresh token into the connection's extra.",
            )
        if document.connection != self._conn_id:
            raise TokenStoreUnusableError(
                f"token store {self.name!r} holds the tokens of connection {document.connection!r}, not of "
                f"{self._conn_id!r}.",
                remedy="Give each connection a place of its own; where it was renamed, give it a new place "
                "and a new refresh token.",
            )
        return pair


def _mask(pair: TokenPair) -> None:
    # Each by itself: Airflow masks texts that it knows, and a header has the token without the document.
    mask_secret(pair.access_token)
    mask_secret(pair.refresh_token)


def unreachable(name: str, operation: str, cause: str, remedy: str) -> TokenStoreError:
    """Return the error of a store that can't be asked now.

    :param operation: ``opened``, ``read`` or ``written``
    :param cause: the kind of failure, never with a value
    """
    return TokenStoreError(f"token store {name!r} can't be {operation}: {cause}.", remedy=remedy)


def unusable(name: str, operation: str, cause: str, remedy: str) -> TokenStoreUnusableError:
    """Return the error of a store that answered, and won't serve until somebody changes something."""
    return TokenStoreUnusableError(f"token store {name!r} can't be {operation}: {cause}.", remedy=remedy)
