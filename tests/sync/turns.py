"""Several actors that take turns by chance: any interleaving of their steps, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from threading import Event, Thread
from typing import IO

from makini_provider.destinations.files.layout import DATA
from makini_provider.destinations.files.store import Store


class Turns:
    """One thread for each actor, of which one runs at a time, from one step to the next.

    :param random: decides who is next
    :param loyalty: how likely the same one goes on
    :param between: called before each step
    """

    def __init__(self, random: Random, *, loyalty: float, between: Callable[[], object]) -> None:
        self._random = random
        self._loyalty = loyalty
        self._between = between
        self._actors: list[_Actor] = []
        self._running: _Actor | None = None

    def run(self, *acts: Callable[[], object], beside: Callable[[], object] | None = None) -> None:
        """Run actors until all have come to their end.

        :param acts: what each does, in a thread of its own
        :param beside: done again and again while one of them is left
        :raises BaseException: what one of them raised
        """
        self._actors = [_Actor(act) for act in acts]
        watcher = None
        if beside is not None:

            def watch() -> None:
                while any(actor.alive for actor in self._actors if actor is not watcher):
                    beside()

            watcher = _Actor(watch)
            self._actors.append(watcher)
        while alive := [actor for actor in self._actors if actor.alive]:
            if self._running not in alive or self._random.random() > self._loyalty:
                self._running = self._random.choice(alive)
            self._between()
            self._running.go_on()
        for actor in self._actors:
            if actor.error is not None:
                raise actor.error

    def step(self) -> None:
        """Called by an actor: whoever is next goes on here or elsewhere."""
        if self._running is not None and self._running.alive:
            self._running.pause()


class _Actor:
    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._turn, self._over = Event(), Event()
        self.error: BaseException | None = None
        self.alive = True
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._wait(self._turn)
        try:
            self._act()
        except BaseException as error:
            self.error = error
        self.alive = False
        self._over.set()

    def go_on(self) -> None:
        self._turn.set()
        self._wait(self._over)

    def pause(self) -> None:
        self._over.set()
        self._wait(self._turn)

    def _wait(self, event: Event) -> None:
        assert event.wait(60), "an actor hangs"
        event.clear()


class SteppedStore(Store):
    """A store in front of whose every operation others may have their turn."""

    def __init__(self, store: Store, step: Callable[[], None]) -> None:
        super().__init__(store.root)
        self._step = step

    def names(self, folder: str, *, suffix: str = "", hidden: bool = False) -> list[str]:
        self._step()
        return super().names(folder, suffix=suffix, hidden=hidden)

    def read_all(self, folder: str, names: list[str]) -> dict[str, bytes | None]:
        self._step()
        return super().read_all(folder, names)

    def open(self, name: str) -> IO[bytes]:
        self._step()
        return super().open(name)

    def create(self, name: str) -> IO[bytes]:
        self._step()
        return super().create(name)

    def close(self, stream: IO[bytes], name: str) -> None:
        self._step()
        super().close(stream, name)

    def put(self, name: str, content: bytes) -> None:
        self._step()
        super().put(name, content)

    def sync_folders(self, name: str) -> None:
        self._step()
        super().sync_folders(name)

    def remove(self, name: str) -> None:
        """Remove; a folder file by file, as stores do."""
        if name.split("/")[-2] == DATA:
            for part in super().names(name):
                self._step()
                super().remove(f"{name}/{part}")
        self._step()
        super().remove(name)
