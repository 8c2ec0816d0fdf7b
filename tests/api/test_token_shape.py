"""What is told of a token without trusting it: its shape and its dates, and never its text."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makini_provider.api.token_shape import TokenShape

MOMENT = datetime(2026, 8, 1, 12, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


def jwt(claims: Any, header: Any = None) -> str:
    parts = [json.dumps(part).encode() for part in (header or {"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "sig"])


@pytest.mark.parametrize(
    "written",
    [SECONDS, float(SECONDS), str(SECONDS), SECONDS * 1000],
    ids=["seconds", "float", "text", "milliseconds"],
)
def test_dates_are_read_however_they_are_written(written: Any) -> None:
    shape = TokenShape.of(jwt({"exp": written, "iat": written, "nbf": written}))
    assert shape.dates == {"issued": MOMENT, "valid from": MOMENT, "valid until": MOMENT}


@pytest.mark.parametrize("claim", [None, True, "soon", [], {}, 10**40, float("1e300")], ids=repr)
def test_a_date_that_is_none_is_passed_over(claim: Any) -> None:
    shape = TokenShape.of(jwt({"exp": claim}))
    assert shape.is_jwt
    assert shape.expires_at is None


@pytest.mark.parametrize(
    "token", ["opaque-4711", "a.b.c", jwt([1]), jwt({}).replace(".", ""), "eyJ" + "x" * 40], ids=repr
)
def test_what_is_no_jwt_has_no_dates(token: str) -> None:
    shape = TokenShape.of(token)
    assert not shape.is_jwt
    assert shape.dates == {}


@pytest.mark.parametrize("token", ["opaque-4711", "550e8400-e29b-41d4-a716-446655440000", jwt({}), "a/b+c=="])
def test_a_token_as_it_should_be_has_no_oddities(token: str) -> None:
    assert TokenShape.of(token).oddities == ()


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "is empty"),
        ("two words", "white space"),
        ("Bearer:abc", "begins with a word such as 'Bearer'"),
        ("“abc”", "quotation marks"),
        ("<token>", "placeholder"),
        ('{"token":"abc"}', "placeholder"),
        ("***", "placeholder"),
        ("a%3Db", "percent-encoded"),
        (jwt({})[:12], "cut short or damaged"),
    ],
)
def test_oddities_are_named(token: str, words: str) -> None:
    assert any(words in oddity for oddity in TokenShape.of(token).oddities)


@given(st.text(max_size=200) | st.text(alphabet="eyJ.=_-A0", max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_has_a_shape(token: str) -> None:
    shape = TokenShape.of(token)
    assert shape.length == len(token)
    if len(token) > 12:
        assert token not in repr(shape) + str(shape)
