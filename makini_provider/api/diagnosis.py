"""What a refusal comes from, and what to do about it: a value that people and programs can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from makini_provider.api.errors import (
    HeaderNotAcceptedError,
    MakiniStatusError,
    MakiniUnauthorizedError,
    PermissionMissingError,
    ReauthorizationRequiredError,
    SourceCredentialsError,
    TokenExpiredError,
    TokenInvalidError,
)
from makini_provider.api.records import format_instant


class Cause(StrEnum):
    """Why the API refuses."""

    NONE = "none"
    HEADER = "header_not_sent_as_it_should_be"
    EXPIRED = "token_expired"
    INVALID = "token_invalid_or_revoked"
    SOURCE_CREDENTIALS = "source_credentials_changed"
    REAUTHORIZATION = "reauthorization_required"
    PERMISSION = "permission_missing"
    UNKNOWN = "not_found_out"


class Who(StrEnum):
    """Who can do something about it."""

    YOU = "You"
    CUSTOMER = "Your customer"
    SUPPORT = "Makini's support"


_ERRORS: Final[dict[Cause, type[MakiniStatusError]]] = {
    Cause.HEADER: HeaderNotAcceptedError,
    Cause.EXPIRED: TokenExpiredError,
    Cause.INVALID: TokenInvalidError,
    Cause.SOURCE_CREDENTIALS: SourceCredentialsError,
    Cause.REAUTHORIZATION: ReauthorizationRequiredError,
    Cause.PERMISSION: PermissionMissingError,
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    :param who: who does it
    :param what: a sentence
    """

    who: Who
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a source is refused, how that is known, and what to do.

    :param source: whose access it is about, such as ``makini_default``
    :param cause: the cause, as far as it was found out
    :param summary: the cause in a sentence
    :param actions: what to do, in this order
    :param evidence: what was seen, in the order in which it was looked at
    :param not_found_out: what could not be found out, and why
    :param request_ids: what Makini's support asks for
    :param since: since when it is so, where that is known
    :param asked_at: when it was found out, by the server's clock
    :param readable: resources that could be read
    """

    source: str
    cause: Cause
    summary: str
    actions: tuple[Action, ...] = ()
    evidence: tuple[str, ...] = ()
    not_found_out: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    since: datetime | None = None
    asked_at: datetime
    readable: tuple[str, ...] = ()

    @property
    def is_dead(self) -> bool:
        """Whether nothing of the source can be read, or nothing new will come."""
        if self.cause in (Cause.NONE, Cause.UNKNOWN):
            return False
        return self.cause is Cause.SOURCE_CREDENTIALS or not self.readable

    @property
    def short(self) -> str:
        """What it comes from and what to do, without how that is known."""
        actions = [f"{action.who}: {action.what}" for action in self.actions]
        asked = [f"Request ID: {self.request_ids[0]}."] if self.request_ids else []
        return " ".join([self.summary, *actions, *asked])

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.source}: {self.summary}"
        if self.actions:
            yield "What to do:"
            yield from (f"  {action.who}: {action.what}" for action in self.actions)
        if self.evidence:
            yield "What was seen:"
            yield from (f"  - {line}" for line in self.evidence)
        if self.not_found_out:
            yield "What could not be found out:"
            yield from (f"  - {line}" for line in self.not_found_out)
        if self.request_ids:
            yield f"Request IDs, for Makini's support: {', '.join(self.request_ids)}"

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as values that JSON has."""
        return {
            "source": self.source,
            "cause": self.cause.value,
            "dead": self.is_dead,
            "summary": self.summary,
            "actions": [{"who": action.who.value, "what": action.what} for action in self.actions],
            "evidence": list(self.evidence),
            "not_found_out": list(self.not_found_out),
            "request_ids": list(self.request_ids),
            "since": None if self.since is None else format_instant(self.since),
            "asked_at": format_instant(self.asked_at),
            "readable": list(self.readable),
        }

    def error(self, failure: MakiniStatusError | None = None) -> MakiniStatusError:
        """The typed error of the cause; its text is the diagnosis.

        :param failure: what led to it: gives status, code and request ID
        """
        kind = _ERRORS.get(self.cause, MakiniUnauthorizedError if failure is None else type(failure))
        error = kind(
            self.summary,
            remedy=" ".join(f"{action.who}: {action.what}" for action in self.actions),
            status=None if failure is None else failure.status,
            code=None if failure is None else failure.code,
            request_id=(self.request_ids[0] if self.request_ids else None)
            if failure is None
            else failure.request_id,
        )
        error.diagnosis = self
        return error
