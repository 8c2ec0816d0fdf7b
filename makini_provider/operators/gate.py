"""The gate: one task per source and run asks whether there is access, so that its syncs need not find out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from makini_provider.api.errors import (
    MakiniError,
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniUnauthorizedError,
    UnknownConnectionError,
    UnusableTokenError,
)
from makini_provider.operators.refusal import SourceRefusedError
from makini_provider.operators.retrying import retry_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from makini_provider.api.client import Integration
    from makini_provider.hooks.makini import MakiniHook
    from makini_provider.sync.plan import Upstream


class MakiniGateOperator(BaseOperator):
    """Asks whether a source can be read, once for all of its syncs in a run.

    It fails at once, with the diagnosis, where the source is refused: the token has run out or was revoked,
    the connected system's credentials have changed, the connection must be authorized again, or a permission
    is missing for everything. The source's syncs, which name this task as their ``gate_task_id``, are then
    skipped with the same diagnosis; those of other sources go on. Else it hands on the state of Makini's own
    synchronisation, so that they need not ask for it again.

    A server that does not answer closes no gate: the task is retried, and the syncs find out for themselves.
    Nothing is remembered from run to run.

    :param makini_conn_id: Airflow connection (templated)
    :param makini_connection: the Makini connection's id, where the Airflow connection serves many (templated)
    """

    template_fields: Sequence[str] = ("makini_conn_id", "makini_connection")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        makini_conn_id: str = "makini_default",
        makini_connection: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_arguments(kwargs))
        self.makini_conn_id = makini_conn_id
        self.makini_connection = makini_connection

    @property
    def source(self) -> str:
        """Whose data it is: ``conn_id`` or ``conn_id/makini_connection``."""
        return source_name(self.makini_conn_id, self.makini_connection)

    def execute(self, context: Context) -> None:
        """Ask for the state, and for the reason where it is refused; hand on what was found."""
        from makini_provider.hooks.makini import MakiniHook

        with MakiniHook(self.makini_conn_id, self.makini_connection or None) as hook:
            try:
                verdict = _verdict(hook)
            except SourceRefusedError as refused:
                self._hand_on(context, Verdict(str(refused), diagnosis=refused.diagnosis.as_json()))
                raise
            except MakiniError as error:
                # What holds a connection may be down; where it stays unknown, its syncs can do nothing.
                if not error.retryable or isinstance(error, UnknownConnectionError):
                    self._hand_on(context, Verdict(str(error)))
                if error.retryable:
                    raise
                raise AirflowFailException(str(error)) from error
        self._hand_on(context, verdict)

    def _hand_on(self, context: Context, verdict: Verdict) -> None:
        # Before the task fails, since what it returned would be lost then.
        context["ti"].xcom_push(key=_key(self.source), value=verdict.as_json())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate found out.

    :param closed: why the source can't be read; empty where it can
    :param diagnosis: the same for programs, where there is one
    :param upstream: the state of Makini's own synchronisation, where it was told
    """

    closed: str = ""
    diagnosis: Mapping[str, Any] | None = None
    upstream: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The verdict as values that XCom keeps."""
        return {"closed": self.closed, "diagnosis": self.diagnosis, "upstream": self.upstream}


def pass_the_gate(
    context: Context, gate_task_id: str, makini_conn_id: str, makini_connection: str | None
) -> Upstream | None:
    """Go on where a gate lets the source through.

    :param context: of a task downstream of the gate
    :param gate_task_id: the gate
    :param makini_conn_id: the source's Airflow connection
    :param makini_connection: the source's Makini connection, where one is named
    :return: the state that the gate was told; ``None`` where it has said nothing
    :raises AirflowSkipException: the gate is closed
    """
    from makini_provider.sync.plan import Upstream

    key = _key(source_name(makini_conn_id, makini_connection))
    # A list, since the gate may be mapped; the key is this source's alone.
    found = context["ti"].xcom_pull(task_ids=[gate_task_id], key=key) or [None]
    told = found[0]
    if not told:
        return None
    if told["closed"]:
        raise AirflowSkipException(
            f"{told['closed']}\nThe task {gate_task_id!r} of this run found that out, so nothing was asked "
            "here. Once it is mended, the next run reads what is missing; to repeat this one, clear that "
            "task."
        )
    return Upstream.from_json(told["upstream"]) if told["upstream"] else None


def _verdict(hook: MakiniHook) -> Verdict:
    from makini_provider.api.client import UNTOLD

    try:
        integration = hook.client.read_integration()
    except MakiniNotFoundError:
        return _open(hook, UNTOLD)
    except UnusableTokenError:
        diagnosis = hook.diagnose()
    except (MakiniUnauthorizedError, MakiniForbiddenError) as refused:
        diagnosis = hook.diagnose(refused)
    else:
        if not integration.is_locked_out:
            return _open(hook, integration)
        diagnosis = hook.diagnose()
    if diagnosis.is_dead:
        raise SourceRefusedError(diagnosis)
    hook.log.info("%s", diagnosis)
    return _open(hook, UNTOLD)


def _open(hook: MakiniHook, integration: Integration) -> Verdict:
    from makini_provider.sync.plan import Upstream

    clock = hook.client.clock
    return Verdict(upstream=Upstream(integration, clock.now(), timedelta(seconds=clock.skew())).as_json())


def source_name(makini_conn_id: str, makini_connection: str | None) -> str:
    """Whose data it is: ``conn_id`` or ``conn_id/makini_connection``."""
    return "/".join(filter(None, (makini_conn_id, makini_connection)))


def _key(source: str) -> str:
    # A connection's id may hold what a key may not.
    return f"makini_gate_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
