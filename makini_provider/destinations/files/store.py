"""The few things that the files destination does with a store, on top of Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from makini_provider.api.errors import MakiniConfigurationError, MakiniDestinationError, MakiniError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

# What no retry mends. What exists already is a file where a folder should be: no two attempts share a name.
_HOPELESS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}


@contextlib.contextmanager
def explained(what: str, where: str) -> Iterator[None]:
    """Turn what a store raises into a typed error.

    :param what: what is done, such as ``write``
    :param where: the place, for people
    """
    try:
        yield
    except MakiniError:
        raise
    except Exception as error:
        known = isinstance(error, OSError | EOFError)
        if not known and type(error).__module__ == "builtins":
            raise  # a mistake in a program; the libraries behind the stores have errors of their own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"can't {what} {where}: {reason.rstrip('.')}."
        missing = what == "write" and isinstance(error, FileNotFoundError)
        if missing or isinstance(error, PermissionError) or getattr(error, "errno", None) in _HOPELESS:
            raise MakiniConfigurationError(
                message,
                remedy="Give the user or role that Airflow's tasks run as access to the destination, or name "
                "another one. What has landed is untouched.",
            ) from error
        raise MakiniDestinationError(message, remedy="What has landed is untouched.") from error


def removed_meanwhile(what: str) -> MakiniDestinationError:
    """The error for what vacuum, or somebody, removed under a task that was writing it."""
    return MakiniDestinationError(
        f"{what} was removed while a task was writing it; nothing of it is visible.",
        remedy="The next try reads it again. Give vacuum a --grace that is longer than the longest sync, and "
        "let nothing else delete files at the destination.",
    )


class Store:
    """A folder on a store.

    :param root: the folder
    """

    def __init__(self, root: ObjectStoragePath) -> None:
        self.root = root
        self._local = root.protocol in ("file", "local", "")

    def __str__(self) -> str:
        return str(self.root)

    def uri(self, name: str) -> str:
        """A file as other tools know it: a path where it is local, else a URI without the connection."""
        path = self.root / name
        return str(path.path if self._local else path.fs.unstrip_protocol(path.path))

    def names(self, folder: str, *, suffix: str = "", hidden: bool = False) -> list[str]:
        """The names in a folder, past every cache; none where the folder does not exist.

        :param folder: below the store's root
        :param suffix: how the names end
        :param hidden: the hidden ones instead: what :meth:`put` is writing, or was when it was killed
        """
        path = self.root / folder
        with explained("list", str(path)):
            path.fs.invalidate_cache()
            try:
                entries = path.fs.ls(path.path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return sorted(name for name in names if name.endswith(suffix) and name.startswith(".") is hidden)

    def read_all(self, folder: str, names: list[str]) -> dict[str, bytes | None]:
        """The content of many files, read side by side where the store can; ``None`` for one that is gone."""
        if not names:
            return {}
        path = self.root / folder
        with explained("read", str(path)):
            contents: list[Any] = path.fs.cat_ranges(
                [(path / name).path for name in names], None, None, on_error="return"
            )
            for content in contents:
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {
            name: content if isinstance(content, bytes) else None
            for name, content in zip(names, contents, strict=True)
        }

    def open(self, name: str) -> IO[bytes]:
        """Open a file to be read."""
        path = self.root / name
        with explained("read", str(path)):
            stream: IO[bytes] = path.fs.open(path.path, "rb")
            return stream

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        where = f"{self.root}/{name}"
        with explained("write", where):
            try:
                yield
            except FileNotFoundError as error:
                if not self._local:
                    raise  # no such bucket
                # Folders are made where they are missing: one that is not there was removed since.
                raise removed_meanwhile(where) from error

    def create(self, name: str) -> IO[bytes]:
        """Open a new file to be written."""
        path = self.root / name
        with self._writing(name):
            if self._local:
                Path(path.path).parent.mkdir(parents=True, exist_ok=True)
                return Path(path.path).open("xb")
            stream: IO[bytes] = path.fs.open(path.path, "wb")
            return stream

    def close(self, stream: IO[bytes], name: str) -> None:
        """Close a written file; on a local disk, after it has reached the disk."""
        with self._writing(name):
            if self._local:
                stream.flush()
                os.fsync(stream.fileno())
            stream.close()

    def abandon(self, stream: IO[bytes]) -> None:
        """Drop a file that is being written."""
        if self._local:
            stream.close()
            return
        try:
            stream.discard()  # type: ignore[attr-defined]
        finally:
            # Closed in the ordinary way, by us or by the garbage collector, it would be published.
            stream.closed = True  # type: ignore[misc]

    def put(self, name: str, content: bytes) -> None:
        """Write a small file so that it is there as a whole or not at all."""
        path = self.root / name
        with self._writing(name):
            if not self._local:
                path.fs.pipe_file(path.path, content)
                return
            target = Path(path.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.tmp")
            try:
                with temporary.open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.rename(target)
            except BaseException:  # also when the task is told to end; it goes on from here
                temporary.unlink(missing_ok=True)
                raise
        self.sync_folders(name)

    def prepare(self, folder: str) -> None:
        """Find out early whether the folder can be written, where that costs nothing."""
        if self._local:
            path = Path((self.root / folder).path)
            with explained("write", str(path)):
                path.mkdir(parents=True, exist_ok=True)
                if not os.access(path, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def sync_folders(self, name: str) -> None:
        """Make a file's name reach the disk, with the names of the folders that it is in."""
        if not self._local:
            return
        for folder in Path(name).parents:
            path = Path((self.root / str(folder)).path)
            with self._writing(str(folder)):
                try:
                    descriptor = os.open(path, os.O_RDONLY)
                except PermissionError:
                    continue  # a folder that one may write into and not list
                try:
                    os.fsync(descriptor)
                except OSError as error:
                    # Some network file systems know no such thing.
                    if error.errno not in _NO_FOLDER_SYNC:
                        raise
                finally:
                    os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it; one that is gone already is all right."""
        path = self.root / name
        with explained("remove", str(path)), contextlib.suppress(FileNotFoundError):
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
