"""The search for secrets, in each spelling in which a program may have written one down."""

from __future__ import annotations

import base64
import gzip
import html
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> set[bytes]:
    """A secret raw, escaped, percent-encoded, and in base64 wherever in a text it begins."""
    plain = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
    }
    return {text.encode() for text in plain} | set(_in_base64(secret.encode()))


def _in_base64(secret: bytes) -> Iterator[bytes]:
    for before in range(3):
        bits = (before + len(secret)) * 8
        # What stands before and behind has a part in the characters at the ends.
        own = slice(-(-before * 8 // 6), bits // 6)
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + secret + b"\0\0")[own]


def leaks(text: str | bytes, secrets: set[str]) -> set[str]:
    """Which of the secrets a text has, in any spelling."""
    content = text.encode() if isinstance(text, str) else text
    return {secret for secret in secrets if any(spelling in content for spelling in spellings(secret))}


def leaks_in_files(folder: Path, secrets: set[str]) -> dict[Path, set[str]]:
    """Which files below a folder have which of the secrets."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            if shown := leaks(content, secrets):
                found[path] = shown
    return found


def leaks_in_database(file: Path, secrets: set[str]) -> dict[str, set[str]]:
    """Which columns of a SQLite database have which of the secrets; a file may have split a value."""
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = database.execute(f'SELECT * FROM "{table}"')
            columns = [column for column, *_ in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if shown := leaks(_readable(value), secrets):
                        found.setdefault(f"{table}.{column}", set()).update(shown)
    return found


def _readable(value: object) -> bytes:
    content = value if isinstance(value, bytes) else str(value).encode()
    with suppress(zlib.error):
        return zlib.decompress(content)
    return content
