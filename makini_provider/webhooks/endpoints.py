"""The endpoints as they are bound now: looked up again every so often, never for a request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from makini_provider.api.errors import MakiniConfigurationError, MakiniInboxError, UnknownConnectionError
from makini_provider.webhooks.settings import Endpoint

log = logging.getLogger(__name__)

_SECONDS_TO_WAIT: Final = 3.0
"""For a look-up that hangs, before what was known goes on to count."""


class Endpoints:
    """Endpoints by name.

    :param names: of those that there are; a request for another is no reason to look anything up
    :param find: looks one up, in a thread
    :param seconds: for which what was found counts
    """

    def __init__(self, names: Sequence[str], find: Callable[[str], Endpoint], *, seconds: float) -> None:
        self._names = names
        self._find = find
        self._seconds = seconds
        self._known: dict[str, Endpoint] = {}
        self._trouble: dict[str, str] = {}
        self._unavailable: set[str] = set(names)
        self._read_at = -seconds
        self._reading: asyncio.Task[None] | None = None

    async def get(self, name: str) -> Endpoint | None:
        """Return an endpoint, or ``None`` where there is none of this name that could be used.

        :raises MakiniInboxError: there is one, and what it is bound to could not be looked up
        """
        age = time.monotonic() - self._read_at
        if age >= self._seconds:
            await self.read()
        elif age >= self._seconds / 2:
            # Ahead of time, so that a busy receiver never waits for a secrets backend.
            self._begin_to_read()
        if name in self._unavailable:
            raise MakiniInboxError(f"what endpoint {name!r} is bound to could not be looked up.")
        return self._known.get(name)

    async def read(self) -> None:
        """Look all endpoints up; whoever else wants to waits for the same."""
        await asyncio.wait({self._begin_to_read()}, timeout=_SECONDS_TO_WAIT)

    def _begin_to_read(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        for name in self._names:
            try:
                endpoint = await asyncio.to_thread(self._find, name)
            except UnknownConnectionError as error:
                # Airflow says the same of a connection that was removed and of a secrets backend that is
                # down. Closed either way, but no refusal: Makini must send again what comes meanwhile.
                self._known.pop(name, None)
                self._unavailable.add(name)
                self._tell(name, f"{error} Until then everything that comes in there is answered 503.")
            except MakiniConfigurationError as error:
                # Also a secret that was taken away: what has none is closed.
                self._known.pop(name, None)
                self._unavailable.discard(name)
                self._tell(name, f"{error} Until then everything that comes in there is refused (401).")
            except Exception as error:
                if name not in self._known:
                    self._unavailable.add(name)
                self._tell(name, f"what it is bound to could not be looked up ({type(error).__name__}).")
            else:
                self._known[name] = endpoint
                self._unavailable.discard(name)
                self._trouble.pop(name, None)
        self._read_at = time.monotonic()

    def _tell(self, name: str, trouble: str) -> None:
        if self._trouble.get(name) != trouble:
            self._trouble[name] = trouble
            log.error("endpoint %r: %s", name, trouble)
