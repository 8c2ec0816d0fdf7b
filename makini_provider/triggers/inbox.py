"""Wakes a DAG up when webhooks wait in the inbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from makini_provider.webhooks.inbox import Inbox

_LONGEST_PAUSE: Final = 60.0


class InboxTrigger(BaseEventTrigger):
    """Looks into the inbox and says when there is something to work off; for an ``AssetWatcher``.

    However many webhooks come, it says so once, and again only after the inbox was empty, or when they still
    wait after a while: the first wake-up was lost, or something holds the processing up. An inbox that can't
    be reached is looked at again, less and less often.

    Which inbox is set by ``MAKINI_WEBHOOK_INBOX``, in the triggerer's environment as in the others.

    :param poll_seconds: between two looks; shorter than the operator's ``linger``
    :param remind_seconds: until it says again that events wait
    """

    def __init__(self, poll_seconds: float = 2.0, remind_seconds: float = 30.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.poll_seconds = poll_seconds
        self.remind_seconds = remind_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments, from which the triggerer makes it again. No secret is among them."""
        return (
            "makini_provider.triggers.inbox.InboxTrigger",
            {"poll_seconds": self.poll_seconds, "remind_seconds": self.remind_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, for ever."""
        inbox: Inbox | None = None
        pause, remind_at = self.poll_seconds, 0.0
        try:
            while True:
                try:
                    # In a thread: the triggerer's loop serves many triggers.
                    if inbox is None:
                        inbox = await asyncio.to_thread(_open)
                    waiting = await asyncio.to_thread(inbox.waiting)
                except Exception as error:
                    pause = min(pause * 2, max(_LONGEST_PAUSE, self.poll_seconds))
                    self.log.warning("The inbox can't be looked into: %s Again in %g s.", error, pause)
                else:
                    pause = self.poll_seconds
                    if not waiting:
                        remind_at = 0.0
                    elif time.monotonic() >= remind_at:
                        remind_at = time.monotonic() + self.remind_seconds
                        yield TriggerEvent({"waiting": True})  # type: ignore[no-untyped-call]
                await asyncio.sleep(pause)
        finally:
            if inbox is not None:
                inbox.close()


def _open() -> Inbox:
    from makini_provider.webhooks.settings import WebhookSettings
    from makini_provider.webhooks.setup import open_inbox

    return open_inbox(WebhookSettings.from_environment())
