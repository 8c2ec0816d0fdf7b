"""How the published dialect writes a list request and reads its answer: pure, no I/O."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from makini_provider.api.errors import MakiniPagingError, MakiniProtocolError, MalformedAnswerError
from makini_provider.api.records import Record, parse_record
from makini_provider.api.resources import Resource


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What is asked of a list.

    :param filters: values by field, or by ``field:op`` with an operator of the API (``gteq``, ``lt``, …)
    :param sort: field to sort by, or ``None`` for the server's own order
    :param ascending: direction of the sort
    :param page: number of the page, from 1
    :param page_size: records asked for; sent only where the list takes it
    """

    filters: Mapping[str, str] = field(default_factory=dict)
    sort: str | None = None
    ascending: bool = True
    page: int = 1
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    :param records: in the server's order
    :param total: how many records the whole list has, as far as the server says
    :param has_more: whether anything in the answer says that there are further pages
    """

    records: list[Record]
    total: int | None
    has_more: bool


def list_parameters(resource: Resource, query: ListQuery) -> list[tuple[str, str]]:
    """Write the query string of a list request, as its parameters in order."""
    parameters = [(f"filter[{name}]", value) for name, value in query.filters.items()]
    if len(parameters) > 1:
        parameters.append(("filterMatch", "all"))
    if query.sort:
        # The API's own convention: 1 is descending, 0 ascending.
        parameters.append((f"sort[{query.sort}]", "0" if query.ascending else "1"))
    if query.page_size is not None and resource.declares_per_page:
        parameters.append(("per_page", str(query.page_size)))
    parameters.append(("page", str(query.page)))
    return parameters


class _ListAnswer(msgspec.Struct):
    data: list[msgspec.Raw]
    meta: Any = None
    links: Any = None


_decoder = msgspec.json.Decoder(_ListAnswer)


def parse_list(body: bytes, resource: Resource, query: ListQuery) -> Page:
    """Read the answer to a list request.

    Whether there is more is never guessed from a short page: the server may have cut the page size. Any of
    ``meta.last_page``, ``meta.total`` and ``links.next`` that says so is believed, since one request too
    many costs less than a record.

    :raises MalformedAnswerError: this is no list answer
    :raises MakiniPagingError: nothing in it tells whether there is more
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        # msgspec does not look into what it skips: bytes that are no UTF-8 would land unseen.
        str(body, "utf-8")
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedAnswerError(
            f"the answer of {resource.path} is not a list answer: {_kind_of(body)} ({error}).",
            remedy="Expected a JSON object with 'data' (a list), 'links' and 'meta'. "
            "Check the connection's host: a proxy or a login page may answer in the API's place.",
        ) from error
    records = [parse_record(bytes(raw), resource.cursor_field) for raw in answer.data]
    meta = answer.meta if isinstance(answer.meta, dict) else {}
    total = _count(meta.get("total"))
    if total is not None and total < len(records):
        total = None  # contradicted by the records beside it
    signs = _signs_of_more(query.page, len(records), total, meta, answer.links)
    if not signs:
        raise MakiniPagingError(
            f"the answer of {resource.path} does not say whether there are further pages: meta.total, "
            "meta.last_page and links are missing, or contradict the records beside them.",
            remedy="This is not what Makini's API answers; check the connection's host.",
        )
    return Page(records, total, any(signs))


class _SingleAnswer(msgspec.Struct):
    data: msgspec.Raw


_single_decoder = msgspec.json.Decoder(_SingleAnswer)


def parse_single(body: bytes, resource: Resource) -> Record:
    """Read the answer to a request for one record, and leave the record as it is.

    :raises MakiniProtocolError: this is no record with a key
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        str(body, "utf-8")
        record = parse_record(bytes(_single_decoder.decode(body).data), resource.cursor_field)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedAnswerError(
            f"the answer is no single record of {resource.path}: {_kind_of(body)} ({error}).",
            remedy="Expected a JSON object with 'data' (an object). Check the connection's host.",
        ) from error
    if record.key is None:
        raise MakiniProtocolError(f"the answer is a record of {resource.path} without a key.")
    return record


def _signs_of_more(
    page: int, records: int, total: int | None, meta: dict[str, Any], links: Any
) -> list[bool]:
    """What each part of the answer says about further pages, where it can be believed."""
    signs = []
    last_page = _count(meta.get("last_page"))
    if last_page is not None and not (records and last_page < page):
        signs.append(last_page > page)
    if total is not None and page == 1:
        signs.append(total > records)
    elif total is not None:
        page_size = _count(meta.get("per_page")) or records
        reached = _count(meta.get("to")) or page * page_size
        # An empty page without a stated size can't tell what was reached: it lies behind the end.
        signs.append(total > reached > 0)
    if isinstance(links, dict) and links:
        signs.append(bool(links.get("next")))
    return signs


def _count(value: Any) -> int | None:
    """A count from ``meta``, which may come as a number or as text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return count if count >= 0 else None


def _kind_of(body: bytes) -> str:
    start = body.lstrip()[:15].lower()
    if not start:
        return "an empty body"
    if start.startswith(b"<"):
        return "an HTML or XML page"
    if start.startswith(b"{"):
        return "a JSON object of another shape"
    return "no JSON object"
