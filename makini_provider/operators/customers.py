"""Whose data a connection opens: one customer's, or those of all customers of an application."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from makini_provider.api.connections import connection_id, is_at_rest, is_usable
from makini_provider.api.errors import MakiniError, UnknownConnectionError
from makini_provider.sync.streams import Source

log = logging.getLogger(__name__)


def watched_sources_of(name: str) -> Sequence[Source]:
    """As :func:`sources_of`, with the customers whose access has died: somebody must be told of them."""
    return sources_of(name, with_dead=True)


def sources_of(name: str, *, with_dead: bool = False) -> Sequence[Source]:
    """The sources that a name in ``MAKINI_CONN_IDS``, or in the form of a run, stands for.

    An application's connection, which names none of its Makini connections, stands for all that can be read.
    What no retry mends is left to the tasks of this connection, which fail by it, so that all others go on.

    :param name: an Airflow connection, or ``conn_id/makini_connection`` for one customer of it
    :param with_dead: whether those count that can't be read since something has broken
    :raises MakiniError: the connections can't be listed now; a retry may help
    """
    from makini_provider.hooks.makini import MakiniHook

    conn_id, slash, named = name.rpartition("/")
    try:
        with MakiniHook(name) as hook:
            if not hook.serves_many:
                return [Source(name)]
            return _customers(name, hook.list_connections(), with_dead=with_dead)
    except UnknownConnectionError as error:
        # A connection's id may hold a slash, so that only who asks can tell.
        if slash:
            return [Source(conn_id, named)]
        return _left_to_its_tasks(name, error)
    except MakiniError as error:
        if error.retryable:
            raise
        return _left_to_its_tasks(name, error)


def _customers(
    conn_id: str, connections: Sequence[dict[str, object]], *, with_dead: bool
) -> Sequence[Source]:
    sources = []
    for connection in connections:
        name, key, status = connection.get("name"), connection_id(connection), connection.get("status")
        if is_usable(connection) or (with_dead and not is_at_rest(connection)):
            log.info("Connection %r: %s is %s (%s).", conn_id, key, name, status)
            sources.append(Source(conn_id, key))
        else:
            log.warning("Connection %r: %s, %s, is left out: its status is %r.", conn_id, key, name, status)
    return sources


def _left_to_its_tasks(conn_id: str, error: MakiniError) -> Sequence[Source]:
    log.warning("Connection %r: its tasks will fail. %s", conn_id, error)
    return [Source(conn_id)]
