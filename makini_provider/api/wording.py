"""What is said of a cause: in a sentence, what to do, what was seen, and what was not found out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from makini_provider.api.causes import Asked, Findings, find_cause
from makini_provider.api.diagnosis import Action, Cause, Diagnosis, Who

_USE_IT: Final = (
    "put it into the password of the Airflow connection. Nothing else changes, and the next run reads what "
    "is missing."
)
_RECONNECT: Final = "connect the system to Makini again"
_AFTER_IT: Final = {
    "token": f"where that gives a new token, {_USE_IT}",
    "client_credentials": "nothing has to be changed in Airflow: the next run reads what is missing.",
    "refresh_token": "put the new refresh token into the extra of the Airflow connection.",
}


def conclude(found: Findings) -> Diagnosis:
    """Find the cause, and say what to do.

    :param found: what was seen
    """
    cause = find_cause(found)
    return Diagnosis(
        source=found.source,
        cause=cause,
        summary=_summary(cause, found),
        actions=tuple(_actions(cause, found)),
        evidence=tuple(_evidence(found)),
        not_found_out=tuple(_not_found_out(cause, found)),
        request_ids=tuple(dict.fromkeys(one.request_id for one in found.refusals if one.request_id)),
        since=_since(cause, found),
        asked_at=found.now,
        readable=found.readable,
    )


def _summary(cause: Cause, found: Findings) -> str:
    shape, since = found.shape, _since(cause, found)
    match cause:
        case Cause.HEADER if shape is not None and shape.oddities:
            return f"the token is not sent as it should be: it {' and '.join(shape.oddities)}."
        case Cause.HEADER:
            return "the token is not sent as it should be: the API finds no Authorization header."
        case Cause.EXPIRED if since is not None:
            return f"the token has expired, {duration(found.now - since)} ago ({moment(since)})."
        case Cause.EXPIRED:
            return "the token has expired: the API says so."
        case Cause.INVALID:
            return "the API does not accept the token: it is invalid, or it was revoked."
        case Cause.SOURCE_CREDENTIALS:
            known = f" (since {moment(since)})" if since else ""
            return (
                "Makini can't log in to the connected system any more: the credentials there have changed"
                f"{known}. It is not the token."
            )
        case Cause.REAUTHORIZATION:
            return "the connection must be authorized again before the API gives any of its data."
        case Cause.PERMISSION:
            return f"the token is good, and lacks the permission to read {_denied(found)}."
        case Cause.NONE:
            return "the API accepts the token."
        case Cause.UNKNOWN:
            if found.readable:
                return "a request was refused, and the same request is answered now."
            if found.no_token:
                return f"there is no token to ask with. {found.no_token}"
            return "why there is no access could not be found out: the API gives no usable answer."


def _since(cause: Cause, found: Findings) -> datetime | None:
    shape, integration = found.shape, found.integration
    if cause is Cause.EXPIRED and shape is not None and shape.expires_at and shape.expires_at <= found.now:
        return shape.expires_at
    if cause is Cause.SOURCE_CREDENTIALS and integration is not None:
        return integration.sync_updated_at
    return None


def _denied(found: Findings) -> str:
    if not found.readable:
        return "any of the lists that were tried"
    refused = [asked.resource for asked in found.asked if asked.refused and asked.resource]
    paths = [found.failure.path] if found.failure is not None else []
    return ", ".join(dict.fromkeys([name for name in refused if not paths] + paths)) or "what was asked for"


def _actions(cause: Cause, found: Findings) -> Iterator[Action]:
    if found.no_token:
        return
    match cause:
        case Cause.HEADER if found.shape is not None and found.shape.oddities:
            yield Action(
                Who.YOU,
                "copy the token again into the password of the Airflow connection: the token alone, in one "
                "line, without quotation marks and without the word 'Bearer'.",
            )
        case Cause.HEADER:
            yield Action(
                Who.YOU,
                "find out what takes the Authorization header away between this machine and the API: a proxy "
                "or a gateway.",
            )
        case Cause.EXPIRED if found.way_in != "token":
            yield Action(
                Who.YOU, "run it again, which asks for a new token. If it stays, is the clock right?"
            )
        case Cause.EXPIRED:
            yield Action(Who.YOU, f"get a new token from where this one came, and {_USE_IT}")
            yield Action(Who.CUSTOMER, f"{_RECONNECT}, if no new token can be had without it.")
        case Cause.INVALID:
            if found.way_in == "token":
                yield Action(
                    Who.YOU,
                    "compare it with the token that Makini has for this connection (production or test?). "
                    f"Where it is another one, {_USE_IT}",
                )
            yield Action(
                Who.YOU,
                "look at the connection's status in Makini: where it asks for reauthorization, or the "
                "credentials of the connected system were changed, your customer must connect it again.",
            )
        case Cause.SOURCE_CREDENTIALS:
            yield Action(Who.CUSTOMER, f"{_RECONNECT}, with the credentials that are valid there now.")
            yield Action(Who.YOU, _AFTER_IT[found.way_in])
        case Cause.REAUTHORIZATION:
            yield Action(Who.CUSTOMER, f"{_RECONNECT} (reauthorize the connection).")
            yield Action(Who.YOU, _AFTER_IT[found.way_in])
        case Cause.PERMISSION:
            yield Action(
                Who.CUSTOMER,
                "give the account, with which the system is connected to Makini, the permission to read it.",
            )
            yield Action(Who.YOU, "or leave it out of what is synced (MAKINI_RESOURCES).")
        case Cause.UNKNOWN:
            yield Action(Who.YOU, "try again; if it stays, 'airflow makini check' looks at more.")
        case Cause.NONE:
            return
    if found.asked:
        yield Action(Who.SUPPORT, "can look the requests up by their IDs, if that does not help.")


def _evidence(found: Findings) -> Iterator[str]:
    shape = found.shape
    if shape is not None and not found.asked:
        yield f"The token was not sent: it has {shape}."
    elif shape is not None:
        yield f"The token was sent as “Authorization: Bearer …”: {shape}."
        dates = [f"{meaning} {moment(date)}" for meaning, date in shape.dates.items()]
        if dates:
            yield f"By its own dates it is {', '.join(dates)}; the server's clock shows {moment(found.now)}."
    if found.failure is not None:
        yield f"Before, {found.failure.path} was {Asked('', found.failure).answer}."
    for answer, alike in groupby(found.asked, key=lambda asked: asked.answer):
        requests = [asked.what for asked in alike]
        yield f"{', '.join(requests)} {'was' if len(requests) == 1 else 'were'} {answer}."
    integration = found.integration
    if integration is not None and integration.sync_status:
        since = f" since {moment(integration.sync_updated_at)}" if integration.sync_updated_at else ""
        yield f"Makini's own synchronisation with the connected system is '{integration.sync_status}'{since}."
    if found.connection_status:
        yield f"Makini shows the connection's status as '{found.connection_status}'."


def _not_found_out(cause: Cause, found: Findings) -> Iterator[str]:
    if cause is Cause.NONE:
        return
    shape = found.shape
    if shape is not None and shape.expires_at is None and cause in (Cause.INVALID, Cause.UNKNOWN):
        yield "Whether the token has expired: it does not say how long it is valid."
    if not found.connection_status and not found.readable and found.no_connection_status:
        yield f"The connection's status in Makini: {found.no_connection_status}"
    if found.integration is None and not found.readable and cause in (Cause.INVALID, Cause.UNKNOWN):
        yield "Whether Makini can still log in to the connected system: its state is not told to this token."
    refusals = list(found.refusals)
    if refusals and not any(refusal.request_id for refusal in refusals):
        yield "A request ID: the answers have none."


def moment(instant: datetime) -> str:
    """Write a time for people, to the minute."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def duration(length: timedelta) -> str:
    """Write a duration for people, in its largest unit."""
    seconds = length.total_seconds()
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "less than a minute"
