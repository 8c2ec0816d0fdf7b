"""The few things that the files destination does with a store, on top of Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from makini_provider.api.errors import MakiniConfigurationError, MakiniDestinationError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_HOPELESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


@contextlib.contextmanager
def explained(what: str, where: str) -> Iterator[None]:
    """Turn what a store raises into a typed error.

    :param what: what is done, such as ``write``
    :param where: the place, for people
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _HOPELESS or isinstance(error, PermissionError):
            raise MakiniConfigurationError(
                f"can't {what} {where}: {reason}.",
                remedy="Give the user or role that Airflow's tasks run as access to the destination, or name "
                "another one. What has landed is untouched.",
            ) from error
        raise MakiniDestinationError(
            f"can't {what} {where}: {reason}.", remedy="What has landed is untouched."
        ) from error


class Store:
    """A folder on a store.

    :param root: the folder
    """

    def __init__(self, root: ObjectStoragePath) -> None:
        self.root = root
        self._local = root.protocol in ("file", "local", "")

    def __str__(self) -> str:
        return str(self.root)

    def names(self, folder: str, *, suffix: str = "") -> list[str]:
        """The names in a folder, past every cache; none where the folder does not exist."""
        path = self.root / folder
        with explained("list", str(path)):
            path.fs.invalidate_cache()
            try:
                entries = path.fs.ls(path.path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))

    def read_all(self, folder: str, names: list[str]) -> dict[str, bytes | None]:
        """The content of many files, read side by side where the store can; ``None`` for one that is gone."""
        if not names:
            return {}
        path = self.root / folder
        keys = {(path / name).path: name for name in names}
        with explained("read", str(path)):
            contents: dict[str, Any] = path.fs.cat(list(keys), on_error="return")
            by_name: dict[str, bytes | None] = {}
            for key, content in contents.items():
                name = key.rstrip("/").rsplit("/", 1)[-1]
                if isinstance(content, FileNotFoundError):
                    by_name[name] = None
                elif isinstance(content, Exception):
                    raise content
                else:
                    by_name[name] = content
        return by_name

    def open(self, name: str) -> IO[bytes]:
        """Open a file to be read."""
        with explained("read", f"{self.root}/{name}"):
            stream: IO[bytes] = (self.root / name).open("rb")  # type: ignore[no-untyped-call]
            return stream

    def create(self, name: str) -> IO[bytes]:
        """Open a new file to be written."""
        path = self.root / name
        with explained("write", str(path)):
            if self._local:
                Path(path.path).parent.mkdir(parents=True, exist_ok=True)
                return Path(path.path).open("xb")
            stream: IO[bytes] = path.open("wb")  # type: ignore[no-untyped-call]
            return stream

    def close(self, stream: IO[bytes], name: str) -> None:
        """Close a written file; on a local disk, after it has reached the disk."""
        with explained("write", f"{self.root}/{name}"):
            if self._local:
                stream.flush()
                os.fsync(stream.fileno())
            stream.close()

    def put(self, name: str, content: bytes) -> None:
        """Write a small file so that it is there as a whole or not at all."""
        path = self.root / name
        with explained("write", str(path)):
            if not self._local:
                path.fs.pipe_file(path.path, content)
                return
            target = Path(path.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Its data's folder first: what a commit names must outlive a power cut as surely as the commit.
            temporary = target.with_name(f".{target.name}.tmp")
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(target)
            self.sync_folder(str(Path(name).parent))

    def prepare(self, folder: str) -> None:
        """Find out early whether the folder can be written, where that costs nothing."""
        if self._local:
            path = Path((self.root / folder).path)
            with explained("write", str(path)):
                path.mkdir(parents=True, exist_ok=True)
                if not os.access(path, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def sync_folder(self, folder: str) -> None:
        """Make the names in a local folder reach the disk."""
        if self._local:
            descriptor = os.open((self.root / folder).path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it; one that is gone already is all right."""
        path = self.root / name
        with contextlib.suppress(FileNotFoundError), explained("remove", str(path)):
            path.fs.rm(path.path, recursive=True)


def open_store(destination: str) -> Store:
    """Open the store that a destination names.

    :param destination: a URI that ``ObjectStoragePath`` takes
    :raises MakiniConfigurationError: there is no such kind of store here, or its package is missing
    """
    from airflow.sdk import ObjectStoragePath

    try:
        root = ObjectStoragePath(destination)
        root.fs  # noqa: B018  (opens it)
    except (ImportError, ValueError) as error:
        scheme = destination.partition("://")[0]
        raise MakiniConfigurationError(
            f"destination {destination!r}: this Airflow can't open {scheme}:// ({error}).",
            remedy="Install the provider and the fsspec package of this store, for S3 "
            "'apache-airflow-providers-amazon[s3fs]', or use file:///…",
        ) from error
    return Store(root)
