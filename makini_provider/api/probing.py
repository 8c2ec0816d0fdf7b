"""Asks the few questions that tell one cause of a refusal from another."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from makini_provider.api.causes import Asked, Findings, WayIn
from makini_provider.api.client import INTEGRATION_PATH, MakiniClient
from makini_provider.api.diagnosis import Diagnosis
from makini_provider.api.errors import (
    MakiniConnectionError,
    MakiniError,
    MakiniStatusError,
    MalformedAnswerError,
)
from makini_provider.api.resources import get_resource
from makini_provider.api.token_shape import TokenShape
from makini_provider.api.transport import Answer
from makini_provider.api.wording import conclude

# Every kind of system has sites; which kind this one is shows in which list answers.
COMMON_LISTS: Final = ("eam/sites", "erp/sites", "wms/sites")

Connections = Callable[[], Iterable[Mapping[str, Any]]]


def diagnose(
    client: MakiniClient,
    *,
    source: str,
    token: Callable[[], str],
    failure: MakiniStatusError | None = None,
    connections: Connections | None = None,
    connection_id: str | None = None,
    way_in: WayIn = "token",
) -> Diagnosis:
    """Find out why the API refuses, with half a dozen requests at most.

    :param client: an impatient one, of the connection that was refused
    :param source: whose access it is about, for people
    :param token: gives what is sent; only its shape is kept
    :param failure: the refusal that is to be explained, where there was one
    :param connections: asks for the connections that the credentials may see
    :param connection_id: which of them is meant, where that is known
    :param way_in: how the token is come by
    """
    found = Findings(source=source, now=client.clock.now(), failure=failure, way_in=way_in)
    try:
        found.shape = TokenShape.of(token())
    except MakiniError as error:
        found.no_token = str(error)
        return conclude(found)
    if _ask_for_the_state(client, found):
        _ask_for_lists(client, found)
        if not found.readable and found.integration is None:
            _ask_for_the_connection(found, connections, connection_id)
    found.now = client.clock.now()
    return conclude(found)


def diagnose_unsent(source: str, shape: TokenShape) -> Diagnosis:
    """The diagnosis of a token that can't stand in a header.

    :param source: whose access it is about, for people
    :param shape: what can be told of it
    """
    return conclude(Findings(source=source, now=datetime.now(UTC), shape=shape))


def _ask_for_the_state(client: MakiniClient, found: Findings) -> bool:
    """Ask for the state of the synchronisation; return whether asking more makes sense."""
    what = f"GET {INTEGRATION_PATH}"
    try:
        found.integration = client.read_integration()
    except MakiniError as error:
        found.asked.append(Asked(what, error))
        return not isinstance(error, MakiniConnectionError)
    found.asked.append(Asked(what))
    return not found.integration.is_locked_out


def _ask_for_lists(client: MakiniClient, found: Findings) -> None:
    """Ask again for what was refused, and then for lists until one can be read."""
    failure = found.failure
    if failure is not None and failure.path and failure.path != INTEGRATION_PATH:
        refused = _ask(client, failure.path, failure.path, again=True)
        found.asked.append(refused)
    for name in COMMON_LISTS:
        path = get_resource(name).path
        if failure is not None and path == failure.path:
            continue
        asked = _ask(client, path, name)
        found.asked.append(asked)
        if asked.failure is None or isinstance(asked.failure, MakiniConnectionError):
            return


def _ask(client: MakiniClient, path: str, resource: str, *, again: bool = False) -> Asked:
    check = _is_json if again else _is_list
    try:
        client.transport.request("GET", path, query=[("per_page", "1"), ("page", "1")], check=check)
    except MakiniError as error:
        return Asked(f"GET {path}", error, resource, again)
    return Asked(f"GET {path}", None, resource, again)


class _ListAnswer(msgspec.Struct):
    data: list[msgspec.Raw]


def _is_list(answer: Answer) -> None:
    """Check that a list was answered, be it as it may: a login page with status 200 gives no access."""
    _decode(answer, _ListAnswer)


def _is_json(answer: Answer) -> None:
    _decode(answer, Any)


def _decode(answer: Answer, kind: Any) -> None:
    try:
        msgspec.json.decode(answer.body.removeprefix(codecs.BOM_UTF8), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedAnswerError(
            "the answer is not one of Makini's API.",
            remedy="Check the connection's host: a proxy or a login page may answer in the API's place.",
        ) from None


def _ask_for_the_connection(
    found: Findings, connections: Connections | None, connection_id: str | None
) -> None:
    if connections is None:
        found.no_connection_status = "this token can't ask for it; look into Makini."
        return
    try:
        known = list(connections())
    except MakiniError as error:
        told = f"answered with {error.status}" if error.status else "not answered"
        found.no_connection_status = f"the list of connections was {told}; look into Makini."
        return
    mine = [one for one in known if connection_id in (None, one.get("key"), one.get("id"), one.get("name"))]
    if len(mine) == 1 and mine[0].get("status"):
        found.connection_status = str(mine[0]["status"])
    else:
        found.no_connection_status = (
            f"which of {len(known)} connections is meant is not known; look into Makini."
            if len(mine) != 1
            else "it is not told; look into Makini."
        )
