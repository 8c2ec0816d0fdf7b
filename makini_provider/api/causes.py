"""From what was seen to the cause: pure decisions, in the order in which Makini says to look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from makini_provider.api.client import Integration
from makini_provider.api.diagnosis import Cause
from makini_provider.api.errors import (
    MakiniError,
    MakiniForbiddenError,
    MakiniStatusError,
    MakiniUnauthorizedError,
)
from makini_provider.api.token_shape import TokenShape

WayIn = Literal["token", "client_credentials", "refresh_token"]

# What APIs write, in codes and in sentences. The order counts: what names the connected system comes first.
_WORDS: Final = {
    Cause.REAUTHORIZATION: (
        r"\bre-?(auth|connect|consent)|(authori[sz]|authenticat|connect)\w* again"
        r"|connection requires? (authenti|authori)"
    ),
    Cause.SOURCE_CREDENTIALS: (
        r"(source|system|platform|provider|integration|upstream)\w*('s)? (credential|password|login)"
        r"|credentials? (of|for) the (connected|source)|credentials?( \w+){0,2} (changed|rotated)"
    ),
    Cause.HEADER: (
        r"\b(missing|absent|no|malformed)\b.{0,20}\b(authori[sz]ation|bearer|header)"
        r"|(authori[sz]ation|header)\b.{0,25}\b(missing|absent|malformed|not (found|sent|provided|given))"
        r"|token (is |was )?(missing|not (sent|provided|given))"
        r"|\b(missing|no) ((access|api|auth\w*) )?token\b"
        r"|authentication credentials (were )?(missing|not provided)"
    ),
    Cause.PERMISSION: r"permission|scope|privilege|forbidden|access denied|not (allowed|permitted)|entitle",
}
_EXPIRED: Final = r"expired|no longer valid"
_INVALID: Final = r"invalid|revoked|unknown|not (known|recogni[sz]ed|valid)"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a diagnosis.

    :param what: such as ``GET /api/eam/sites``
    :param failure: what it failed with; ``None`` where it was answered
    :param resource: what it read of the source's data: a list, or the path that had been refused before
    :param again: whether it is the request that had been refused before
    """

    what: str
    failure: MakiniError | None = None
    resource: str = ""
    again: bool = False

    @property
    def refused(self) -> bool:
        """Whether the token was refused for it."""
        return isinstance(self.failure, MakiniUnauthorizedError | MakiniForbiddenError)

    @property
    def answer(self) -> str:
        """How it was answered, in words that continue "was"."""
        failure = self.failure
        if failure is None:
            return "answered"
        if not isinstance(failure, MakiniStatusError):
            return f"not answered as it should be: {failure}"
        told = [f"code {failure.code}" if failure.code else "", f"“{failure.told}”" if failure.told else ""]
        known = ", ".join(fact for fact in told if fact)
        return f"answered with {failure.status}{f' ({known})' if known else ''}"


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was seen.

    :param source: whose access it is about
    :param shape: of the token that was sent, where one was
    :param no_token: why there is none to be sent
    :param failure: the refusal that is to be explained, where there was one
    :param asked: the requests, in their order
    :param integration: the state of Makini's own synchronisation, where it was told
    :param connection_status: of the connection in Makini, where it was told
    :param no_connection_status: why it was not told
    :param now: by the server's clock
    :param way_in: how the token is come by
    """

    source: str
    now: datetime
    way_in: WayIn = "token"
    shape: TokenShape | None = None
    no_token: str = ""
    failure: MakiniStatusError | None = None
    asked: list[Asked] = field(default_factory=list)
    integration: Integration | None = None
    connection_status: str | None = None
    no_connection_status: str = ""

    @property
    def readable(self) -> tuple[str, ...]:
        """What could be read of the source's data."""
        return tuple(asked.resource for asked in self.asked if asked.resource and asked.failure is None)

    @property
    def refusals(self) -> Iterator[MakiniStatusError]:
        """Every refusal, that which is to be explained first."""
        if self.failure is not None:
            yield self.failure
        for asked in self.asked:
            if asked.refused and isinstance(asked.failure, MakiniStatusError):
                yield asked.failure


def cause_told(code: str | None, told: str) -> Cause | None:
    """The cause that an error names in its code or its message, where it names one.

    “invalid or expired” names none.
    """
    # A code reads like a sentence: REAUTHORIZATION_REQUIRED.
    in_code, in_words = (_cause_in(text.replace("_", " ").lower()) for text in (code or "", told))
    # "invalid_token" is the code for any token that is not accepted, an expired one too (RFC 6750, section
    # 3.1): the words beside it know more.
    return (in_words or in_code) if in_code is Cause.INVALID else (in_code or in_words)


def _cause_in(text: str) -> Cause | None:
    for cause, words in _WORDS.items():
        if re.search(words, text):
            return cause
    expired, invalid = re.search(_EXPIRED, text), re.search(_INVALID, text)
    if expired and not invalid:
        return Cause.EXPIRED
    return Cause.INVALID if invalid and not expired else None


def status_tells(status: str) -> Cause | None:
    """The cause that a connection's status names, where it names one.

    :param status: of the connection in Makini
    """
    text = status.replace("_", " ").replace("-", " ").lower()
    if re.search(r"re ?auth|re ?connect|unauthori|authenti|authori[sz]ation|disconnect|consent", text):
        return Cause.REAUTHORIZATION
    if re.search(r"credential|login|password|\bfail", text):
        return Cause.SOURCE_CREDENTIALS
    return Cause.INVALID if re.search(r"revoked|deleted|removed", text) else None


def find_cause(found: Findings) -> Cause:
    """Find the cause in what was seen."""
    if found.no_token:
        return Cause.UNKNOWN
    if not found.asked:
        return Cause.HEADER
    integration = found.integration
    if integration is not None and integration.is_locked_out:
        return Cause.SOURCE_CREDENTIALS
    refused = list(found.refusals)
    if not refused:
        return Cause.UNKNOWN if all(asked.failure for asked in found.asked) else Cause.NONE
    told = next(filter(None, (cause_told(one.code, one.told) for one in refused)), None)
    if told in (Cause.REAUTHORIZATION, Cause.SOURCE_CREDENTIALS):
        # Said of the connection, whatever else it still lets pass.
        return told
    if not found.readable:
        return _cause_of_a_dead_token(found, refused, told)
    if found.failure is None:
        return Cause.NONE
    # The token is good: what it was refused for is a matter of permissions, unless that is over.
    over = any(asked.again and asked.failure is None for asked in found.asked)
    return Cause.UNKNOWN if over else Cause.PERMISSION


def _cause_of_a_dead_token(found: Findings, refused: list[MakiniStatusError], told: Cause | None) -> Cause:
    shape = found.shape
    if shape is not None and shape.oddities:
        return Cause.HEADER
    if shape is not None and shape.expires_at is not None and shape.expires_at <= found.now:
        return Cause.EXPIRED
    if not any(asked.refused for asked in found.asked):
        return told or Cause.UNKNOWN
    status = status_tells(found.connection_status or "")
    if status is not None:
        return status
    if found.integration is not None:
        return Cause.PERMISSION
    # Some answer a bad token with 403 too, and say so; one that says nothing means what its status does.
    return told or (Cause.PERMISSION if any(one.status == 403 for one in refused) else Cause.INVALID)
