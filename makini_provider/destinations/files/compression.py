"""Compressing streams, and reading them again."""

from __future__ import annotations

import gzip
import io
from typing import IO, Any

from makini_provider.api.errors import MakiniConfigurationError

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


def compressor(stream: IO[bytes], compression: str) -> IO[bytes]:
    """A stream that writes compressed to ``stream``; closing it leaves ``stream`` open.

    :param stream: where the compressed bytes go
    :param compression: ``gzip`` or ``zstd``
    :raises MakiniConfigurationError: the package for it is missing
    """
    if compression == "zstd":
        compressed: IO[bytes] = (
            _zstandard().ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(stream, closefd=False)
        )
        return compressed
    # No time in the header: the same records give the same bytes.
    return gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)  # type: ignore[return-value]


def decompressor(stream: IO[bytes], name: str) -> IO[bytes]:
    """A stream that reads what was compressed, by the file's name."""
    if name.endswith(".zst"):
        reader = _zstandard().ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        return io.BufferedReader(reader)
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]
    return stream


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MakiniConfigurationError(
            "compression 'zstd' needs the package zstandard.",
            remedy="Install 'airflow-provider-makini[zstd]', or use compression='gzip'.",
        ) from error
    return zstandard
