"""Many requests, few commits: what arrives while one commit is under way goes into the next.

A commit waits for the disk, which takes a hundred events in the time of one. No event waits for company: the
first one goes at once, and alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from makini_provider.api.errors import MakiniInboxError
from makini_provider.webhooks.inbox import Counts, Inbox, Received, Tally

T = TypeVar("T")

MOST_TOGETHER: Final = 200
BYTES_TOGETHER: Final = 8 * 1024 * 1024


class Intake:
    """The inbox for an event loop: a thread of its own waits for the database.

    :param open_inbox: opens the inbox, in that thread, when it is needed and until it works
    :param seconds: after which the database is taken for unavailable
    """

    def __init__(self, open_inbox: Callable[[], Inbox], *, seconds: float = 8.0) -> None:
        self._open_inbox = open_inbox
        self._seconds = seconds
        self._inbox: Inbox | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="makini-inbox")
        self._waiting: dict[asyncio.Future[bool], Received] = {}
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> Inbox:
        """Open the inbox now rather than with the first event.

        :raises MakiniConfigurationError: it can't be used as it is set up
        :raises MakiniInboxError: it can't be reached
        """
        return await self._in_thread(self._opened)

    async def put(self, received: Received) -> bool:
        """Keep an event; it is durable when this returns.

        :return: what :meth:`Inbox.put` returns
        :raises MakiniError: it is not known to be kept, so that it must be sent again
        """
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[bool] = loop.create_future()
        self._waiting[kept] = received
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        try:
            async with asyncio.timeout(self._seconds):
                return await kept
        except TimeoutError:
            raise self._no_answer() from None
        finally:
            self._waiting.pop(kept, None)

    async def counts(self) -> Counts:
        """Count the events.

        :raises MakiniError: the inbox is not available
        """
        return await self._in_thread(lambda: self._opened().counts())

    async def add_tallies(self, tallies: Sequence[Tally]) -> None:
        """Keep what was counted.

        :raises MakiniError: the inbox is not available
        """
        await self._in_thread(lambda: self._opened().add_tallies(tallies))

    async def close(self) -> None:
        """Finish what is under way, and close the inbox."""
        if self._writing is not None:
            await self._writing
        if self._inbox is not None:
            with contextlib.suppress(MakiniInboxError):
                await self._in_thread(self._inbox.close)
        self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            try:
                stored = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._put_all, list(batch.values())
                )
            except Exception as error:
                for kept in batch:
                    if not kept.done():
                        kept.set_exception(error)
            else:
                for kept, new in zip(batch, stored, strict=True):
                    if not kept.done():
                        kept.set_result(new)

    def _next_batch(self) -> dict[asyncio.Future[bool], Received]:
        batch: dict[asyncio.Future[bool], Received] = {}
        size = 0
        for kept, received in self._waiting.items():
            size += len(received.payload)
            if batch and (size > BYTES_TOGETHER or len(batch) == MOST_TOGETHER):
                break
            batch[kept] = received
        for kept in batch:
            del self._waiting[kept]
        return batch

    def _put_all(self, events: Sequence[Received]) -> list[bool]:
        return self._opened().put_all(events)

    def _opened(self) -> Inbox:
        if self._inbox is None:
            self._inbox = self._open_inbox()
        return self._inbox

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except TimeoutError:
            raise self._no_answer() from None

    def _no_answer(self) -> MakiniInboxError:
        return MakiniInboxError(f"the inbox did not answer within {self._seconds:g} s.")
