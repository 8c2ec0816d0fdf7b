"""Failures: whatever an error answer looks like, a typed error says what is known of it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from makini_provider.api import errors
from makini_provider.api.errors import MakiniError, MakiniRequestError
from makini_provider.api.failures import failure_of_answer, retry_after_seconds

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def failure(status: int, body: Any = b"", **headers: str) -> MakiniRequestError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    stated = {name.replace("_", "-"): value for name, value in headers.items()}
    return failure_of_answer("GET", "/api/eam/assets", status, stated, content, now=NOW)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "MakiniStatusError", False),
        (401, "MakiniUnauthorizedError", False),
        (403, "MakiniForbiddenError", False),
        (404, "MakiniNotFoundError", False),
        (408, "MakiniServerError", True),
        (418, "MakiniStatusError", False),
        (422, "MakiniStatusError", False),
        (425, "MakiniServerError", True),
        (429, "MakiniRateLimitError", True),
        (500, "MakiniServerError", True),
        (503, "MakiniServerError", True),
        (599, "MakiniServerError", True),
        (300, "MakiniProtocolError", False),
        (302, "MakiniProtocolError", False),
        (304, "MakiniProtocolError", False),
        (308, "MakiniProtocolError", False),
    ],
)
def test_the_status_decides_the_kind_and_whether_a_retry_helps(
    status: int, kind: str, retryable: bool
) -> None:
    error = failure(status)
    assert type(error) is getattr(errors, kind)
    assert error.retryable is retryable
    assert error.status == status
    assert error.remedy
    assert f"HTTP {status}" in str(error)


FACTS = {"code": "RATE_LIMIT_EXCEEDED", "message": "Slow down", "request_id": "req-7"}


@pytest.mark.parametrize(
    "body",
    [
        {"error": FACTS},
        FACTS,
        {"errors": [FACTS]},
        {"errors": FACTS},
        [FACTS],
        {"error_code": "RATE_LIMIT_EXCEEDED", "error_message": "Slow down", "requestId": "req-7"},
        {"errorCode": "RATE_LIMIT_EXCEEDED", "errorMessage": "Slow down", "requestID": "req-7"},
        {"error": "RATE_LIMIT_EXCEEDED", "error_description": "Slow down", "request-id": "req-7"},
        {"error": {"code": "RATE_LIMIT_EXCEEDED", "detail": "Slow down"}, "meta": {"request_id": "req-7"}},
        {"error": {"code": "RATE_LIMIT_EXCEEDED"}, "message": "Slow down", "request_id": "req-7"},
        {"errors": [{"code": "RATE_LIMIT_EXCEEDED", "title": "Slow down"}], "request_id": "req-7"},
    ],
)
def test_code_message_and_request_id_are_found_in_every_spelling(body: Any) -> None:
    error = failure(429, body)
    assert error.code == "RATE_LIMIT_EXCEEDED"
    assert "Slow down" in error.message
    assert error.request_id == "req-7"
    assert "code RATE_LIMIT_EXCEEDED, request ID req-7" in str(error)


@pytest.mark.parametrize("header", ["X_Request_Id", "X_Request_ID", "Request_Id", "X_Correlation_Id"])
def test_the_request_id_of_a_header_outranks_that_of_the_body(header: str) -> None:
    assert failure(500, FACTS, **{header: "from-header"}).request_id == "from-header"


def test_a_challenge_stands_in_for_what_the_body_does_not_say() -> None:
    challenge = 'Bearer realm="makini", error="invalid_token", error_description="The access token expired"'
    told = failure(401, b"", WWW_Authenticate=challenge)
    assert told.code == "invalid_token"
    assert "The access token expired" in told.message
    assert failure(401, FACTS, WWW_Authenticate=challenge).code == FACTS["code"]
    assert failure(401, b"", WWW_Authenticate='Bearer realm="makini"').code is None


def test_a_byte_order_mark_before_the_body_is_passed_over() -> None:
    assert failure(500, b"\xef\xbb\xbf" + json.dumps(FACTS).encode()).code == "RATE_LIMIT_EXCEEDED"


def test_a_numeric_code_is_text() -> None:
    assert failure(400, {"code": 1042}).code == "1042"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"<html><body>502 Bad Gateway</body></html>",
        b"plain words",
        b'{"cut": ',
        b"\xff\xfe\x00",
        b"null",
        b"true",
        b"5",
        b'"text"',
        b"[]",
        b"[[]]",
        b"{}",
        b'{"error": null, "errors": [], "meta": 3}',
        b'{"error": {"code": {"a": 1}, "message": ["x"]}}',
        b'{"code": true, "message": ""}',
        b'{"message": NaN}',
        b"[" * 100_000,
        b'{"error":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_a_body_that_says_nothing_still_gives_the_status(body: bytes) -> None:
    error = failure(503, body)
    assert error.code is None
    assert error.request_id is None
    assert error.message == "GET /api/eam/assets was answered with 503."


def test_nesting_of_any_depth_gives_a_typed_error() -> None:
    for depth in range(800, 1100, 3):
        assert failure(500, b'{"error":' * depth + b"{}" + b"}" * depth).code is None


@given(st.binary() | st.text().map(str.encode), st.integers(300, 999))
def test_any_body_gives_a_typed_error(body: bytes, status: int) -> None:
    assert failure(status, body).status == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "errors", "code", "message", "x"]), inner)
    ),
)


@given(json_values)
def test_any_json_gives_a_typed_error_of_one_line(body: Any) -> None:
    assert "\n" not in str(failure(400, body))


def test_a_long_or_broken_message_is_cut_and_put_on_one_line() -> None:
    error = failure(400, {"message": "a\n\tb  c" + "x" * 10_000})
    assert "a b cxxx" in error.message
    assert len(error.message) < 400


def test_retry_after_is_handed_on() -> None:
    error = failure(429, Retry_After="17")
    assert error.retry_after == 17
    assert "retry after 17 s" in str(error)


# Retry-After


@given(st.integers(0, 10**9))
def test_seconds_are_read_as_seconds(seconds: int) -> None:
    assert retry_after_seconds(str(seconds), now=NOW) == seconds


@given(st.integers(-(10**6), 10**6))
def test_a_date_is_read_as_seconds_from_now_and_never_negative(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(date, now=NOW) == max(seconds, 0)


def test_a_date_without_an_offset_is_utc() -> None:
    assert retry_after_seconds("Thu, 15 Jan 2026 12:00:30", now=NOW) == 30


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "soon", "-1", "-0.1", "nan", "inf", "-inf", "1e999", "2026-01-15", "1 2 3", "Mon,", ","],
)
def test_nonsense_is_none(value: str | None) -> None:
    assert retry_after_seconds(value, now=NOW) is None


@given(st.text())
@example("Mon, 99999999999999999999 Jan 2024 00:00:00 GMT")
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("Mon, 01 Jan 2024 00:00:00 +99999999999999999999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_any_header_is_none_or_a_wait_that_can_be_waited(value: str) -> None:
    seconds = retry_after_seconds(value, now=NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


# The tree of errors


def test_every_error_says_its_facts_and_the_way_out() -> None:
    error = MakiniError("It broke.", remedy="Mend it.", status=503, code="X", request_id="r", retry_after=1.5)
    assert str(error) == "It broke. (HTTP 503, code X, request ID r, retry after 1.5 s) Mend it."
    assert str(MakiniError("It broke.")) == "It broke."


def test_every_error_is_a_makini_error() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    ]
    assert all(issubclass(kind, MakiniError) for kind in kinds)
