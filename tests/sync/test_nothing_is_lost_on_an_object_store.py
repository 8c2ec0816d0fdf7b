"""Nothing is lost: the state machine over S3, in a process that may die before and after any request."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import count
from typing import IO, Any

import moto.s3.models
import pytest
import s3fs
from airflow.sdk.io import attach
from fsspec.asyn import sync_wrapper

from makini_provider.api.errors import MakiniDestinationError
from makini_provider.destinations.files.destination import FilesDestination, read_commits
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.store import Store
from makini_provider.sync.coverage import StreamState
from makini_provider.sync.run import StreamSync
from tests.destinations.object_store import CHANGES, Bucket, client, serving
from tests.sync.machine import STREAM, SyncMachine, newest_of, scenarios
from tests.sync.model import ModelClient
from tests.sync.test_nothing_is_lost_in_files import _Files

PART = 1500
"""Bytes that go up in one request: so small that some data files take several."""


class MortalS3(s3fs.S3FileSystem):
    """A client whose connection breaks at some request: for a moment, or since its process dies there."""

    left: int | None = None
    after = False
    dies = True
    dead = False

    def begin_life(self, *, left: int | None, after: bool = False, dies: bool = True) -> None:
        """Live anew, until before or after the so-many-th request that changes something."""
        self.left, self.after, self.dies, self.dead = left, after, dies, False
        for file in self.__dict__.setdefault("files", []):
            # What the dead process had open goes with it, and is not published by the garbage collector.
            file.closed = True
        self.files.clear()

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        file = super()._open(path, mode, **more)
        if mode == "wb":
            file.blocksize = PART
            self.files.append(file)
        return file

    async def _call_s3(self, method: str, *arguments: Any, **more: Any) -> Any:
        self._step(method, after=False)
        answer = await super()._call_s3(method, *arguments, **more)
        self._step(method, after=True)
        return answer

    call_s3 = sync_wrapper(_call_s3)

    def _step(self, method: str, *, after: bool) -> None:
        if self.left is not None and method in CHANGES and after == self.after:
            self.left -= 1
            self.dead = self.left <= 0 and self.dies
            if self.left == 0:
                raise ConnectionError("cut off")
        if self.dead:
            raise ConnectionError("this process is dead")


class RememberingStore(Store):
    """Looks at what is there now, and fetches the content of a file once: none is ever replaced."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.root)
        self._contents: dict[str, bytes | None] = {}

    def read_all(self, folder: str, names: list[str]) -> dict[str, bytes | None]:
        new = [name for name in names if name not in self._contents]
        self._contents.update(super().read_all(folder, new))
        return {name: self._contents[name] for name in names}

    def open(self, name: str) -> IO[bytes]:
        if name not in self._contents:
            with super().open(name) as stream:
                self._contents[name] = stream.read()
        return io.BytesIO(self._contents[name] or b"")


class InS3(_Files, SyncMachine):
    numbers = count()

    def make_destination(self) -> FilesDestination:
        self.uri = f"bucket/{next(self.numbers)}"
        destination = FilesDestination(f"s3://machine@{self.uri}", compression="none")
        self.observer = RememberingStore(destination.store)
        return destination

    def killing(self, operation: int, *, after: bool) -> FilesDestination:
        mortal.begin_life(left=operation, after=after, dies=self.random.random() < 0.5)
        return FilesDestination(f"s3://mortal@{self.uri}", compression="none")

    def attempt(
        self, act: Callable[[StreamSync], Any], client: ModelClient, destination: Any = None
    ) -> Exception | None:
        try:
            return super().attempt(act, client, destination)
        except MakiniDestinationError:
            if destination is None or destination is self.destination:
                raise
            return None

    def vacuum(self) -> None:
        super().vacuum()
        self.look_anew()

    def settle(self) -> None:
        self.look_anew()

    def look_anew(self) -> None:
        self.observer = RememberingStore(self.destination.store)

    def newest(self) -> dict[str, dict[str, Any]]:
        return newest_of(list(newest_records(self.observer, stream_folder(STREAM))))

    def state(self) -> StreamState:
        return StreamState(read_commits(self.observer, stream_folder(STREAM)))


mortal: MortalS3


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    global mortal
    with serving() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
        Bucket(url)
        mortal = client(url, MortalS3)
        mortal.begin_life(left=None)
        attach("s3", "mortal", fs=mortal)
        attach("s3", "machine", fs=client(url))
        yield


TestNothingIsLostInS3 = InS3.TestCase
TestNothingIsLostInS3.settings = scenarios(30, 0.01)
