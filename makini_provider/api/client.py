"""The client: one connection's API, in the API's own terms."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from makini_provider.api.clock import ServerClock
from makini_provider.api.dialects import ListQuery, Page, list_parameters, parse_list, parse_single
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniPagingError,
    MakiniProtocolError,
    MalformedAnswerError,
)
from makini_provider.api.records import Record, parse_instant
from makini_provider.api.resources import Resource, custom_resource
from makini_provider.api.transport import Answer, Transport

DEFAULT_PAGE_SIZE: Final = 100
MAX_CONNECTION_PAGES: Final = 1000
INTEGRATION_PATH: Final = "/api/integrations/current"
COMPLETED_STATES: Final = frozenset({"done", "fulldone"})
LOCKED_OUT: Final = "fail"

_CONNECTIONS = custom_resource("/api/system/connections")


@dataclass(frozen=True, slots=True)
class Integration:
    """How far Makini's own synchronisation with the connected system is.

    :param sync_status: ``inprogress``, ``done``, ``fulldone``, ``error`` or ``fail``; ``None`` where this
        connection does not tell
    :param sync_updated_at: since when it has this status
    :param details: the whole answer
    """

    sync_status: str | None
    sync_updated_at: datetime | None
    details: Mapping[str, Any]

    @property
    def completed_at(self) -> datetime | None:
        """The end of the last completed sync, where the state is one of completion."""
        return self.sync_updated_at if self.sync_status in COMPLETED_STATES else None

    @property
    def is_locked_out(self) -> bool:
        """Whether Makini can't log in to the connected system any more."""
        return self.sync_status == LOCKED_OUT


UNTOLD: Final = Integration(None, None, {})
"""The state of a connection that does not tell it."""

_Read = TypeVar("_Read")


class MakiniClient:
    """The API behind one connection.

    :param transport: sends the requests
    :param page_size: records asked for in one request, at least 1
    :param max_parallel_requests: threads that may read at once
    """

    def __init__(
        self, transport: Transport, *, page_size: int = DEFAULT_PAGE_SIZE, max_parallel_requests: int = 1
    ) -> None:
        self.transport = transport
        self.page_size = page_size
        self.max_parallel_requests = max_parallel_requests

    @property
    def clock(self) -> ServerClock:
        """The server's clock."""
        return self.transport.clock

    @property
    def requests_sent(self) -> int:
        """How many requests have gone out, each attempt counted."""
        return self.transport.requests_sent

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        """Ask for one page of a list.

        :return: the page, and when it was asked for by the server's clock
        :raises AnswerTooLargeError: ask for a smaller page
        :raises MakiniProtocolError: the answer is not a list answer
        """
        if resource.parent is not None:
            raise MakiniConfigurationError(
                f"{resource.name} hangs on one record of {resource.parent}.",
                remedy=f"Give that record's list by its path: 'path:{resource.path}' with the key in it.",
            )
        return self._read(
            "GET",
            resource.path,
            lambda answer: (parse_list(answer.body, resource, query), answer.asked_at),
            query=list_parameters(resource, query),
        )

    def count(self, resource: Resource, filters: Mapping[str, str] | None = None) -> int | None:
        """How many records a list has, by its ``meta.total``; ``None`` where it does not say."""
        page, _ = self.list_page(resource, ListQuery(filters=filters or {}, page_size=1))
        return page.total

    def get_record(self, resource: Resource, key: str) -> dict[str, Any]:
        """Fetch one record.

        :raises MakiniNotFoundError: there is none of this key
        """
        return self._read("GET", record_path(resource, key), _data)

    def read_record(self, resource: Resource, key: str) -> tuple[Record, datetime]:
        """Fetch one record as a sync needs it.

        :return: the record as it came, and when it was asked for by the server's clock
        :raises MakiniNotFoundError: there is none of this key
        :raises MakiniConfigurationError: the key would bend the path
        """
        return self._read(
            "GET",
            record_path(resource, key),
            lambda answer: (parse_single(answer.body, resource), answer.asked_at),
        )

    def create_record(self, resource: Resource, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Create a record and return it as the API has it then."""
        return self._read("POST", resource.path, _data, json=dict(payload))

    def update_record(self, resource: Resource, key: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Change a record and return it as the API has it then."""
        return self._read("PUT", record_path(resource, key), _data, json=dict(payload))

    def integration(self) -> Integration:
        """Ask for the state of Makini's own synchronisation.

        A connection that does not have the endpoint, or may not read it, gives a state that says nothing.
        """
        try:
            return self.read_integration()
        except (MakiniNotFoundError, MakiniForbiddenError):
            return UNTOLD

    def read_integration(self) -> Integration:
        """Ask for that state, and say so where there is none or it may not be read.

        :raises MakiniStatusError: the API refuses
        """
        data = self._read("GET", INTEGRATION_PATH, _data)
        status = data.get("sync_status")
        return Integration(
            str(status).strip().lower() if status else None, parse_instant(data.get("sync_updated_at")), data
        )

    def connections(self) -> list[dict[str, Any]]:
        """The connections that an application's token may see, over all pages.

        :raises MakiniPagingError: the pages do not end, or repeat
        """
        found: dict[str, Record] = {}
        for number in range(1, MAX_CONNECTION_PAGES + 1):
            page, _ = self.list_page(_CONNECTIONS, ListQuery(page=number))
            known = len(found)
            found.update((record.identity, record) for record in page.records)
            if not page.has_more:
                return [msgspec.json.decode(record.raw) for record in found.values()]
            if len(found) == known:
                raise MakiniPagingError(
                    f"page {number} of {_CONNECTIONS.path} brought nothing new and says that there is more."
                )
        raise MakiniPagingError(f"{_CONNECTIONS.path} does not end after {MAX_CONNECTION_PAGES} pages.")

    def _read(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], _Read],
        *,
        query: Sequence[tuple[str, str]] = (),
        json: Any = None,
    ) -> _Read:
        """Send a request and read its answer; one that is no answer is a failure of the request."""
        found: list[_Read] = []
        self.transport.request(
            method, path, query=query, json=json, check=lambda answer: found.append(read(answer))
        )
        return found[-1]


def record_path(resource: Resource, key: str) -> str:
    """The path of one record.

    :raises MakiniConfigurationError: the key would bend the path
    """
    if not key or key in (".", ".."):
        raise MakiniConfigurationError(
            f"key {key!r} can't name a record of {resource.name}.", remedy="Give the record's own key."
        )
    return f"{resource.path}/{quote(key, safe='')}"


def _decoded(answer: Answer) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(answer.body.removeprefix(codecs.BOM_UTF8))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedAnswerError(
            f"the answer is no JSON ({error}).", remedy="Check the connection's host."
        ) from error
    if not isinstance(body, dict):
        raise MakiniProtocolError(f"the answer should be a JSON object, not {type(body).__name__}.")
    return body


def _data(answer: Answer) -> dict[str, Any]:
    data = _decoded(answer).get("data")
    if not isinstance(data, dict):
        raise MakiniProtocolError(f"the answer's 'data' should be an object, not {type(data).__name__}.")
    return data
