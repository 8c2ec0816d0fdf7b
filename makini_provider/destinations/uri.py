"""Checking a destination before anything is opened: light, so that it can be done as DAG files are parsed."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from makini_provider.api.errors import MakiniConfigurationError

FILE_FORMATS: Final = ("jsonl",)
COMPRESSIONS: Final = ("gzip", "zstd", "none")

_EXAMPLES = "Write it like 'file:///data/makini' or 's3://aws_default@bucket/makini'."


def check_destination(destination: str, *, file_format: str = "jsonl", compression: str = "gzip") -> None:
    """Check what can be checked of a destination without opening it.

    :param destination: URI of a folder, as Airflow's ``ObjectStoragePath`` takes it
    :param file_format: of the data files
    :param compression: of the data files
    :raises MakiniConfigurationError: names the parameter, its value and the way out
    """
    if not isinstance(destination, str) or not destination.strip():
        raise MakiniConfigurationError(f"destination is {destination!r}.", remedy=_EXAMPLES)
    if not re.match(r"[a-z][a-z0-9+.-]*://", destination):
        absolute = destination.startswith("/")
        raise MakiniConfigurationError(
            f"destination {destination!r} is not a URI.",
            remedy=f"For this folder write 'file://{destination}'." if absolute else _EXAMPLES,
        )
    special = next((character for character in "*?[]#" if character in destination), None)
    if special is not None:
        raise MakiniConfigurationError(
            f"destination {destination!r} has a {special!r}, which is more than a character to tools that "
            "read files.",
            remedy=_EXAMPLES,
        )
    parts = urlsplit(destination)
    if parts.scheme == "sql":
        raise MakiniConfigurationError(
            f"destination {destination!r}: tables are not supported by this version.",
            remedy="Land files and load them from there. " + _EXAMPLES,
        )
    if parts.scheme in ("file", "local") and (parts.netloc or len(parts.path) < 2):
        raise MakiniConfigurationError(
            f"destination {destination!r} needs an absolute path behind '{parts.scheme}://'.",
            remedy=_EXAMPLES,
        )
    if parts.scheme not in ("file", "local") and not parts.netloc.rpartition("@")[2]:
        raise MakiniConfigurationError(
            f"destination {destination!r} names no bucket or container behind '{parts.scheme}://'.",
            remedy=_EXAMPLES,
        )
    if ".." in parts.path.split("/"):
        raise MakiniConfigurationError(f"destination {destination!r} contains '..'.", remedy=_EXAMPLES)
    if file_format not in FILE_FORMATS:
        raise MakiniConfigurationError(
            f"file_format {file_format!r} is not supported.", remedy=f"Use one of {', '.join(FILE_FORMATS)}."
        )
    if compression not in COMPRESSIONS:
        raise MakiniConfigurationError(
            f"compression {compression!r} is not supported.", remedy=f"Use one of {', '.join(COMPRESSIONS)}."
        )
