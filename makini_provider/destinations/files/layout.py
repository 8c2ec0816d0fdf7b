"""What is called what on disk: pure, and the same on every store.

::

    <destination>/<source>/<domain>/<resource>/
        _commits/<covered start>--<covered end>--<id>.json
        data/<id>/part-00000.jsonl.gz
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from makini_provider.sync.streams import Source, Stream
from makini_provider.sync.windows import Window

COMMITS: Final = "_commits"
DATA: Final = "data"
DOOMED: Final = "_doomed-"
"""How the name of a file begins that stands beside data which a vacuum is about to remove."""
NOTHING: Final = "none"
NO_TEXT: Final = "%"
"""Stands for empty text: a segment of its own, which no other text gives."""

_PLAIN = re.compile(r"[a-z0-9.-]")
_TIME = "%Y%m%dT%H%M%S.%fZ"
_COMMIT = re.compile(r"(?P<start>[^-]+)--(?P<end>[^-]+)--(?P<id>[0-9a-f-]+)\.json")
_EXTENSIONS = {"gzip": ".gz", "zstd": ".zst", "none": ""}


def encode_segment(text: str, *, separator: str = "") -> str:
    """Write any text as one path segment, so that no two texts give the same on any file system.

    Upper case is encoded because some file systems do not tell it from lower case; a leading dot because
    such files are hidden, and ``.`` and ``..`` mean something else.

    :param text: such as a connection id
    :param separator: stands for ``/``; where empty, ``/`` is encoded like the rest
    """
    encoded = "".join(_encode_character(character, separator) for character in text)
    if not encoded:
        return NO_TEXT
    return f"%2e{encoded[1:]}" if encoded.startswith(".") else encoded


def _encode_character(character: str, separator: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    if character == "_" and not separator:
        return character
    if character == "/" and separator:
        return separator
    return "".join(f"%{byte:02x}" for byte in character.encode())


def stream_folder(stream: Stream) -> str:
    """The folder of a stream below the destination."""
    # A nested name is one segment, so that no stream's folder lies in another's.
    resource = encode_segment(stream.resource.local_name, separator="__")
    return f"{source_folder(stream.source)}/{stream.resource.domain}/{resource}"


def source_folder(source: Source) -> str:
    """The folder of all streams of a source."""
    folder = encode_segment(source.conn_id)
    if folder.startswith("_"):
        # Spark and Hive pass over folders with a leading underscore.
        folder = f"%5f{folder[1:]}"
    if source.makini_connection is not None:
        folder += f"@{encode_segment(source.makini_connection)}"
    return folder


def folder_name(folder: str) -> str:
    """A stream's folder in words for people: ``<source>/<domain>/<resource>``."""
    source, domain, resource = folder.split("/")
    return f"{unquote(source)}/{domain}/{unquote(resource.replace('__', '/'))}"


def commit_name(covered: Window | None, commit_id: str) -> str:
    """The name of a commit: what it covers stands in it, so that one listing tells the coverage."""
    start = _format_time(covered.start) if covered else NOTHING
    end = _format_time(covered.end) if covered else NOTHING
    return f"{start}--{end}--{commit_id}.json"


def parse_commit_name(name: str) -> tuple[Window | None, str]:
    """Read a commit's name: what it covers, and its id.

    :raises ValueError: no commit is called so
    """
    parts = _COMMIT.fullmatch(name)
    if parts is None:
        raise ValueError("its name is not that of a commit")
    if parts["start"] == parts["end"] == NOTHING:
        return None, parts["id"]
    return Window(_parse_time(parts["start"]), _parse_time(parts["end"])), parts["id"]


def _format_time(instant: datetime) -> str:
    instant = instant.astimezone(UTC)
    # strftime writes the year 33 with two digits.
    return f"{instant.year:04d}{instant.strftime(_TIME.removeprefix('%Y'))}"


def _parse_time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def part_name(number: int, file_format: str, compression: str) -> str:
    """The name of a data file."""
    return f"part-{number:05d}.{file_format}{_EXTENSIONS[compression]}"
