"""The page of the results, ``docs/results.md``: what a benchmark says stands between two marks of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import makini_provider

PAGE: Final = Path(__file__).parents[1] / "docs" / "results.md"


def write(part: str, lines: Iterable[str]) -> None:
    """Put lines in the place of a part.

    :param part: name of its marks, ``<!-- part -->`` and ``<!-- end of part -->``
    """
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    text = PAGE.read_text()
    marked = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{PAGE} has no {begin}")
    new = "\n".join([begin, "", *lines, "", end])
    PAGE.write_text(marked.sub(lambda _: new, text))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table, its first column of text and the others of numbers."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heads, rule, *cells)]


def versions() -> str:
    """What was measured, and with what."""
    return (
        f"airflow-provider-makini {makini_provider.__version__}, Airflow {version('apache-airflow')}, "
        f"Python {platform.python_version()}"
    )
