"""How a task ends when the API refuses its source: at once, and with the diagnosis as its last words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from makini_provider.api.errors import MakiniForbiddenError, MakiniUnauthorizedError

if TYPE_CHECKING:
    from makini_provider.api.diagnosis import Diagnosis
    from makini_provider.hooks.makini import MakiniHook


class SourceRefusedError(AirflowFailException):
    """The API refuses the source, which no retry mends; ``diagnosis`` says why, also to callbacks.

    :param diagnosis: what was found out
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(str(diagnosis))
        self.diagnosis = diagnosis


@contextmanager
def refusals_explained(hook: MakiniHook) -> Iterator[None]:
    """Explain a 401 or 403 that comes out of the block.

    :param hook: of the source
    :raises SourceRefusedError: the API refused something in the block
    """
    try:
        yield
    except (MakiniUnauthorizedError, MakiniForbiddenError) as refused:
        diagnosis = hook.diagnose(refused)
        # Without the traceback of the request, which tells less and would stand in between.
        raise SourceRefusedError(diagnosis) from None
