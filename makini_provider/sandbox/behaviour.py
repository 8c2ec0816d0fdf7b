"""How the sandbox misbehaves when a test wants it to. By default it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .access import Refusal, RefusalWording, RequestIdPlace
from .changes import Numbers
from .query import Precision, check_precision

Fault = Literal[
    "",  # no fault: in `fault_sequence`, a request that is answered as it should be
    "500",
    "503",
    "429",
    "cut",  # the connection ends in the middle of the answer
    "truncated_json",  # a complete answer whose JSON ends too early
    "html_200",  # a page of a proxy, with status 200
    "empty_body",  # status 200, and nothing
    "slow",  # answered, but after `slow_seconds`
]
ErrorSpelling = Literal["nested", "flat", "html", "empty"]
ExpiresIn = Literal["duration", "duration_text", "absolute", "absolute_text", "absent"]
GrantSpelling = Literal["snake", "camel", "data", "flat"]

_CHOICES = {
    "error_spelling": ErrorSpelling,
    "expires_in": ExpiresIn,
    "grant_spelling": GrantSpelling,
    "refusal": Refusal,
    "refusal_wording": RefusalWording,
    "denied_status": Literal[401, 403],
    "request_id_in": RequestIdPlace,
}


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """
    Faults and oddities, deterministic by ``seed``.

    :param seed: of everything that happens by chance.
    :param ignore_page: every page is the first.
    :param ignore_filters: filters are accepted, and select nothing.
    :param ignore_sort: sorting is accepted, and changes nothing.
    :param filter_precision: times in filters are cut to this precision.
    :param reject_filter_fields: fields on which a filter is answered with 400.
    :param reject_time_of_day: a filter's time must be a plain date, else 400.
    :param unstable_ties: equal sort values come in another order at every request.
    :param changes_per_request: what happens to a list each time before it is read, such as
        ``{"updates": 2, "inserts": 1, "deletes": 1}``; the words are those of ``Store.change``.
    :param change_sequence: such changes before the next reads of a list, one after the other, in the place
        of ``changes_per_request``; ``{}`` for none.
    :param clock_step: seconds by which the clock moves on each time a list is read.
    :param fault_rate: share of the requests that meet one of ``faults``.
    :param faults: the faults to choose from.
    :param fault_sequence: faults of the next requests, one after the other; ``""`` for none.
    :param retry_after: the ``Retry-After`` header of a 429 or 503, as it is written.
    :param latency: seconds that every answer waits.
    :param slow_seconds: what the fault ``slow`` waits.
    :param omit_meta: lists have no ``meta``.
    :param omit_links: lists have no ``links``.
    :param last_page_zero: ``meta.last_page`` is 0, whatever there is.
    :param headers: further headers of every answer, such as those of a rate limit.
    :param error_spelling: how the body of an error looks.
    :param page_size_clamp: cuts pages to less than the sandbox's own maximum.
    :param sync_state_missing: ``/api/integrations/current`` is answered with 404.
    :param sync_states: what successive requests of ``/api/integrations/current`` see, the last one
        staying: a ``sync_status``, or a mapping of several fields.
    :param refusal: why every token is refused with 401.
    :param refusal_wording: whether an answer that refuses tells the reason: not at all (``plain``), by its
        ``code`` or by its ``message``.
    :param refusal_after: how many requests are answered before the refusal begins.
    :param denied: what a permission is missing for: ``eam/assets``, ``eam/*``, or a path.
    :param denied_status: 403 or 401, for what is denied.
    :param request_id_in: where the request ID of an error stands: ``both``, ``header``, ``body``, ``none``.
    :param token_lifetime: seconds that a token lives that client credentials give.
    :param pair_lifetime: seconds that the access token of a pair lives; its refresh token lives a day more.
    :param expires_in: how an answer with a token says when that ends.
    :param grant_spelling: how such an answer looks: ``access_token``, ``accessToken``, under ``data``.
    :param opaque_tokens: tokens that are given say nothing of themselves.
    :param token_faults: faults of the next requests of ``/link/token``, one after the other.
        With ``cut`` and ``truncated_json`` the request is carried out.
    """

    seed: int = 0
    ignore_page: bool = False
    ignore_filters: bool = False
    ignore_sort: bool = False
    filter_precision: Precision = "microsecond"
    reject_filter_fields: tuple[str, ...] = ()
    reject_time_of_day: bool = False
    unstable_ties: bool = False
    changes_per_request: Mapping[str, int] = field(default_factory=dict)
    change_sequence: tuple[Mapping[str, int], ...] = ()
    clock_step: float = 0.0
    fault_rate: float = 0.0
    faults: tuple[Fault, ...] = ()
    fault_sequence: tuple[Fault, ...] = ()
    retry_after: str | None = None
    latency: float = 0.0
    slow_seconds: float = 5.0
    omit_meta: bool = False
    omit_links: bool = False
    last_page_zero: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    error_spelling: ErrorSpelling = "nested"
    page_size_clamp: int | None = None
    sync_state_missing: bool = False
    sync_states: tuple[str | Mapping[str, Any], ...] = ()
    refusal: Refusal = ""
    refusal_wording: RefusalWording = "message"
    refusal_after: int = 0
    denied: tuple[str, ...] = ()
    denied_status: Literal[401, 403] = 403
    request_id_in: RequestIdPlace = "both"
    token_lifetime: float = 300.0
    pair_lifetime: float = 30 * 86400.0
    expires_in: ExpiresIn = "duration"
    grant_spelling: GrantSpelling = "snake"
    opaque_tokens: bool = False
    token_faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        check_precision(self.filter_precision)
        if unknown := {*self.faults, *self.fault_sequence, *self.token_faults} - set(get_args(Fault)):
            raise ValueError(f"faults must be of {get_args(Fault)}, not {sorted(unknown)}")
        for changes in (self.changes_per_request, *self.change_sequence):
            if odd := changes.keys() - set(Numbers.__slots__):
                raise ValueError(f"changes must be of {Numbers.__slots__}, not {sorted(odd)}")
            Numbers(**changes)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {get_args(choices)}")
        if self.fault_rate and not self.faults:
            raise ValueError("fault_rate needs faults to choose from")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Behaviour:
        """Make a behaviour from a JSON object; raise ValueError for a name that is none."""
        if unknown := values.keys() - {one.name for one in fields(cls)}:
            raise ValueError(f"no such behaviour: {', '.join(sorted(unknown))}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**given)
