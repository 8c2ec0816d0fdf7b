"""Whether a connection works: the short answer behind the UI's test button."""

from __future__ import annotations

from makini_provider.api.client import UNTOLD, Integration, MakiniClient
from makini_provider.api.connections import connection_id, is_usable
from makini_provider.api.errors import MakiniForbiddenError, MakiniNotFoundError
from makini_provider.api.probing import COMMON_LISTS
from makini_provider.api.resources import get_resource

_MOST_NAMED = 10


def try_out(client: MakiniClient) -> tuple[bool, str]:
    """Ask for the state of the synchronisation and for one record.

    :return: whether the connection works, and what was found or what to do
    :raises MakiniError: no usable answer
    """
    integration = client.integration()
    source = _source(integration)
    missing = 0
    if integration.sync_status == "fail":
        return False, (
            f"{source}. The token is good, but Makini can't log in to the connected system any more "
            "(sync status 'fail'): the system must be connected to Makini again."
        )
    for name in COMMON_LISTS:
        try:
            count = client.count(get_resource(name))
        except MakiniNotFoundError:
            missing += 1
            continue
        except MakiniForbiddenError:
            continue
        found = "is readable" if count is None else f"has {count} record{'' if count == 1 else 's'}"
        return True, f"{source}. {name} {found}."
    if integration is UNTOLD and missing == len(COMMON_LISTS):
        return False, (
            f"Nothing of Makini's API is there: {', '.join(COMMON_LISTS)} are answered with 404. "
            "Check the connection's host."
        )
    return False, (
        f"{source}. The token is accepted, but none of {', '.join(COMMON_LISTS)} can be read: "
        "check the permissions of the connected system's account."
    )


def try_out_application(client: MakiniClient) -> tuple[bool, str]:
    """Ask for the connections of an application, where none of them is named.

    :return: whether it has any that can be read, and which
    :raises MakiniError: no usable answer
    """
    connections = client.connections()
    usable = [connection for connection in connections if is_usable(connection)]
    names = ", ".join(f"{one.get('name')} ({connection_id(one)})" for one in usable[:_MOST_NAMED])
    more = f" and {len(usable) - _MOST_NAMED} more" if len(usable) > _MOST_NAMED else ""
    return bool(usable), (
        f"The client id and its secret are good. Of {len(connections)} Makini connections {len(usable)} can "
        f"be read{': ' if usable else '.'}{names}{more}{'.' if usable else ''}"
    )


def _source(integration: Integration) -> str:
    details = integration.details
    names = [str(details[key]) for key in ("company_name", "provider") if details.get(key)]
    state = "sync status not told"
    if integration.sync_status:
        state = f"sync status '{integration.sync_status}'"
        if integration.sync_updated_at:
            state += f" since {integration.sync_updated_at:%Y-%m-%d %H:%M} UTC"
    return ", ".join([*names, state])
