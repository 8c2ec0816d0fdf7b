"""Cutting a window into parts of about the same number of records, to read them side by side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from makini_provider.sync.windows import Window

LEAST_PAGES_EACH: Final = 40
"""A part smaller than this many pages is not worth the requests that find its edge."""
_MOST_COUNTS = 10
_TOLERANCE = 0.1


def partition(
    window: Window, parts: int, *, page_size: int, count_from: Callable[[datetime], int | None]
) -> list[Window]:
    """Cut a window by counts.

    :param window: what to cut
    :param parts: how many parts at most
    :param page_size: records in a page
    :param count_from: how many records have a cursor from an instant on; ``None`` where that can't be told
    :return: the parts in order; together they are the window
    """
    first, last = count_from(window.start) if parts > 1 else None, None
    if first is not None and first >= 2 * LEAST_PAGES_EACH * page_size:
        last = count_from(window.end)
    if first is None or last is None:
        return [window]
    total = first - last
    parts = min(parts, total // (LEAST_PAGES_EACH * page_size))
    edges = [window.start]
    for number in range(1, parts):
        edge = _edge(edges[-1], window.end, first - total * number // parts, total / parts, count_from)
        if edge is not None and edges[-1] < edge < window.end:
            edges.append(edge)
    return [Window(start, end) for start, end in zip(edges, [*edges[1:], window.end], strict=True)]


def _edge(
    low: datetime, high: datetime, wanted: int, part: float, count_from: Callable[[datetime], int | None]
) -> datetime | None:
    """The instant from which on about ``wanted`` records remain, by halving."""
    middle: datetime | None = None
    for _ in range(_MOST_COUNTS):
        middle = low + (high - low) / 2
        counted = count_from(middle)
        if counted is None:
            return None
        if abs(counted - wanted) <= part * _TOLERANCE:
            break
        low, high = (middle, high) if counted > wanted else (low, middle)
    return middle
