"""Services that keep secrets: real ones where a machine can have them, else servers that speak their API."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class SecretService(Protocol):
    """One service, as the one who runs it sees it.

    :param uri: of one place there, for a token store
    """

    uri: str

    def running(self) -> AbstractContextManager[None]:
        """Let it be used, by what this process's environment and Airflow's settings say."""
        ...

    def down(self) -> AbstractContextManager[None]:
        """Let nobody reach it."""
        ...

    def read_only(self) -> AbstractContextManager[None]:
        """Let it be read and not written."""
        ...

    def put(self, text: str) -> None:
        """Keep a JSON document, or another text, at the place, past every store of ours."""
        ...

    def text(self) -> str | None:
        """What is there."""
        ...
