"""Nothing is lost: the state machine over files, in a process that may die between any two writes."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import timedelta
from typing import IO, Any

import pytest

from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.store import Store
from makini_provider.destinations.files.vacuum import vacuum
from tests.sync.machine import STREAM, Killed, LaggingMachine, SyncMachine, newest_of, scenarios


class _Files:
    destination: FilesDestination

    def make_destination(self) -> FilesDestination:
        self.folder = tempfile.mkdtemp()
        return FilesDestination(f"file://{self.folder}", compression="none")

    def newest(self) -> dict[str, dict[str, Any]]:
        return newest_of(list(newest_records(self.destination.store, stream_folder(STREAM))))

    def killing(self, operation: int, *, after: bool) -> FilesDestination:
        destination = FilesDestination(f"file://{self.folder}", compression="none")
        destination.store = DyingStore(destination.store, operation, after=after)
        return destination

    def vacuum(self) -> None:
        before = self.newest()
        vacuum(self.destination.store, grace=timedelta(0))
        assert self.newest() == before, "vacuum changed what a reader sees"

    def teardown(self) -> None:
        try:
            super().teardown()  # type: ignore[misc]
        finally:
            shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)


class InFiles(_Files, SyncMachine):
    pass


class InFilesLagging(_Files, LaggingMachine):
    pass


class DyingStore(Store):
    """A store in a process that dies at its so-many-th write: from then on nothing happens any more."""

    def __init__(self, store: Store, operation: int, *, after: bool) -> None:
        super().__init__(store.root)
        self._left = operation
        self._after = after
        self._open: list[IO[bytes]] = []

    def _step(self, *, after: bool) -> None:
        if self._left > 0 and after == self._after:
            self._left -= 1
        if self._left <= 0:
            for stream in self._open:
                # The system closes the files of a dead process; what was still in its memory is gone.
                stream.raw.close()  # type: ignore[attr-defined]
            raise Killed

    def create(self, name: str) -> IO[bytes]:
        self._step(after=False)
        stream = super().create(name)
        self._open.append(stream)
        self._step(after=True)
        return stream

    def close(self, stream: IO[bytes], name: str) -> None:
        self._step(after=False)
        super().close(stream, name)
        self._step(after=True)

    def abandon(self, stream: IO[bytes]) -> None:
        if self._left > 0:
            super().abandon(stream)

    def put(self, name: str, content: bytes) -> None:
        self._step(after=False)
        super().put(name, content)
        self._step(after=True)

    def remove(self, name: str) -> None:
        self._step(after=False)
        super().remove(name)
        self._step(after=True)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """That data reaches the disk before its commit is tested where a test can see it; here it only costs."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


TestNothingIsLostInFiles = InFiles.TestCase
TestNothingIsLostInFiles.settings = scenarios(200, 0.15)
TestNothingIsLostInFilesWhileMakiniLags = InFilesLagging.TestCase
TestNothingIsLostInFilesWhileMakiniLags.settings = scenarios(80, 0.09)
