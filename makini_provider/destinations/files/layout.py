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

from makini_provider.sync.streams import Stream
from makini_provider.sync.windows import Window

COMMITS: Final = "_commits"
DATA: Final = "data"
NOTHING: Final = "none"

_PLAIN = re.compile(r"[a-z0-9.-]")
_TIME = "%Y%m%dT%H%M%S.%fZ"
_EXTENSIONS = {"gzip": ".gz", "zstd": ".zst", "none": ""}


def encode_segment(text: str, *, separator: str = "") -> str:
    """Write any text as one path segment, so that no two texts give the same on any file system.

    Upper case is encoded because some file systems do not tell it from lower case; a leading dot because
    such files are hidden, and ``.`` and ``..`` mean something else.

    :param text: such as a connection id
    :param separator: stands for ``/``; where empty, ``/`` is encoded like the rest
    """
    encoded = "".join(_encode_character(character, separator) for character in text)
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
    source = encode_segment(stream.source.conn_id)
    if source.startswith("_"):
        # Spark and Hive pass over folders with a leading underscore.
        source = f"%5f{source[1:]}"
    if stream.source.makini_connection is not None:
        source += f"@{encode_segment(stream.source.makini_connection)}"
    # A nested name is one segment, so that no stream's folder lies in another's.
    resource = encode_segment(stream.resource.local_name, separator="__")
    return f"{source}/{stream.resource.domain}/{resource}"


def folder_name(folder: str) -> str:
    """A stream's folder in words for people."""
    return "/".join(unquote(part.replace("__", "/")) for part in folder.split("/"))


def commit_name(covered: Window | None, commit_id: str) -> str:
    """The name of a commit: what it covers stands in it, so that one listing tells the coverage."""
    start = covered.start.astimezone(UTC).strftime(_TIME) if covered else NOTHING
    end = covered.end.astimezone(UTC).strftime(_TIME) if covered else NOTHING
    return f"{start}--{end}--{commit_id}.json"


def parse_commit_name(name: str) -> tuple[Window | None, str]:
    """Read a commit's name: what it covers, and its id.

    :raises ValueError: no commit is called so
    """
    start, end, commit_id = name.removesuffix(".json").split("--")
    if start == end == NOTHING:
        return None, commit_id
    return Window(_parse_time(start), _parse_time(end)), commit_id


def _parse_time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def part_name(number: int, file_format: str, compression: str) -> str:
    """The name of a data file."""
    return f"part-{number:05d}.{file_format}{_EXTENSIONS[compression]}"
