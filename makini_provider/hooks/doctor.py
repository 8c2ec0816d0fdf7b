"""A whole check of one connection, in the order in which things are looked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from makini_provider.api.client import UNTOLD, Integration, MakiniClient
from makini_provider.api.diagnosis import Cause, Diagnosis
from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniError,
    UnknownConnectionError,
    UnusableTokenError,
)
from makini_provider.hooks.checkup import (
    RESOURCES,
    Finding,
    Level,
    attempt,
    count_lists,
    look_at_makinis_own_sync,
    look_at_the_clock,
    look_at_the_habits,
    look_at_the_lists,
    look_at_the_network,
    look_at_the_page_size,
    look_at_the_rate_limit,
    look_at_the_token,
)
from makini_provider.hooks.credentials import ApiToken, ClientCredentials, RefreshToken
from makini_provider.hooks.makini import MakiniHook
from makini_provider.hooks.trial import try_out_application

_WAYS_IN: Final = {
    ApiToken: "with an API token",
    ClientCredentials: "with client credentials",
    RefreshToken: "with a refresh token, which a check does not spend",
}


@dataclass(slots=True)
class CheckUp:
    """What was found out about a connection.

    :param source: which connection
    :param findings: in the order in which they were made
    :param diagnosis: why it is refused, where it is
    """

    source: str
    findings: list[Finding] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    @property
    def works(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.level is Level.FAILURE for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The check as values that JSON has."""
        return {
            "source": self.source,
            "works": self.works,
            "findings": [
                {"topic": one.topic, "level": one.level.value, "text": one.text, "facts": dict(one.facts)}
                for one in self.findings
            ],
            "diagnosis": None if self.diagnosis is None else self.diagnosis.as_json(),
        }


def check_up(name: str, resources: Sequence[str] | None = None) -> CheckUp:
    """Check a connection: it reads, changes nothing, waits for nothing long, and spends no refresh token.

    :param name: an Airflow connection, or ``conn_id/makini_connection``
    :param resources: what to count, by default the common ones
    """
    found = CheckUp(name)
    try:
        hook = _hook(name)
    except MakiniConfigurationError as error:
        found.findings.append(Finding("connection", Level.FAILURE, str(error)))
        return found
    with hook:
        for finding in _findings(hook, found, resources):
            found.findings.append(_redacted(finding, hook))
    return found


def _hook(name: str) -> MakiniHook:
    """The hook of a name; whether its slash belongs to the id is known to who asks Airflow."""
    hook = MakiniHook(name)
    try:
        hook.settings  # noqa: B018  (looks it up)
    except UnknownConnectionError:
        conn_id, slash, named = name.rpartition("/")
        if not slash:
            raise
        hook = MakiniHook(conn_id, named)
        hook.settings  # noqa: B018
    except UnusableTokenError:
        pass  # which the diagnosis explains
    return hook


def _redacted(finding: Finding, hook: MakiniHook) -> Finding:
    # A server may repeat what it was sent, and here Airflow masks nothing.
    facts = {
        name: hook.redacted(value) if isinstance(value, str) else value
        for name, value in finding.facts.items()
    }
    return replace(finding, text=hook.redacted(finding.text), facts=facts)


def _findings(hook: MakiniHook, found: CheckUp, resources: Sequence[str] | None) -> Iterator[Finding]:
    try:
        settings = hook.settings
    except UnusableTokenError:
        found.diagnosis = hook.diagnose()
        yield Finding("token", Level.FAILURE, str(found.diagnosis))
        return
    credentials = settings.credentials
    yield Finding("connection", Level.OK, f"{settings.base_url}, {_WAYS_IN[type(credentials)]}")
    yield from (Finding("connection", Level.WARNING, warning) for warning in settings.warnings)
    reached = True
    for finding in look_at_the_network(settings.base_url, settings.transport):
        reached &= finding.level is not Level.FAILURE
        yield finding
    if not reached:
        return
    with hook.impatient_client() as client:
        if hook.serves_many:
            yield attempt("connections", lambda: _customers(client))
            return
        try:
            token = client.transport.token()
        except MakiniError as error:
            # A refresh token would have to be spent for one, which the next task does; all else is amiss.
            spent = isinstance(error, MakiniConfigurationError) and isinstance(credentials, RefreshToken)
            yield Finding("token", Level.WARNING if spent else Level.FAILURE, str(error))
            return
        yield from _behind_the_token(hook, client, token, found, resources)


def _behind_the_token(
    hook: MakiniHook, client: MakiniClient, token: str, found: CheckUp, resources: Sequence[str] | None
) -> Iterator[Finding]:
    found.diagnosis = diagnosis = hook.diagnose()
    integration = _integration(client)
    yield look_at_the_clock(timedelta(seconds=client.clock.skew()) if client.clock.is_told else None)
    yield look_at_the_token(token, client.clock.now())
    if diagnosis.cause is not Cause.NONE:
        yield Finding("access", Level.FAILURE, str(diagnosis))
        return
    yield Finding("access", Level.OK, diagnosis.summary)
    yield look_at_makinis_own_sync(integration, client.clock.now())
    counted = count_lists(client, resources or RESOURCES)
    yield from look_at_the_lists(counted, all_wanted=resources is not None)
    yield attempt("page size", lambda: look_at_the_page_size(client, counted))
    yield attempt("reading", lambda: look_at_the_habits(client, counted))
    yield attempt("rate limit", lambda: look_at_the_rate_limit(client))


def _customers(client: MakiniClient) -> Finding:
    """The connections of an application; each is checked by its own name."""
    works, text = try_out_application(client)
    text = f"{text} To check one, name it: conn_id/makini_connection."
    return Finding("connections", Level.OK if works else Level.FAILURE, text)


def _integration(client: MakiniClient) -> Integration:
    try:
        return client.integration()
    except MakiniError:
        return UNTOLD
