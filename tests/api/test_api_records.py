"""Records: key and cursor are read, everything else passes through as it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makini_provider.api.errors import MakiniProtocolError
from makini_provider.api.records import Record, format_instant, parse_instant, parse_record

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text() | st.sampled_from(["key", "updatedAt"]), json_values, max_size=6)


def test_a_record_is_its_key_its_cursor_and_its_bytes() -> None:
    raw = b'{"name":"Pump","key":"A-1","updatedAt":"2026-01-15T10:00:00Z"}'
    assert parse_record(raw, "updatedAt") == Record("A-1", datetime(2026, 1, 15, 10, tzinfo=UTC), raw)


def test_the_cursor_is_read_from_the_field_that_is_named() -> None:
    raw = b'{"key":"1","createdAt":"2026-01-01","updatedAt":"2026-02-02"}'
    assert parse_record(raw, "createdAt").cursor == datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_record(raw, None).cursor is None


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (b'"A-1"', "A-1"),
        (b"17", "17"),
        (b"-3", "-3"),
        (b"0", "0"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
        (b'" 1 "', " 1 "),
        (b'"\\u00fc/\\""', 'ü/"'),
    ],
)
def test_a_key_is_text_or_a_number(written: bytes, key: str) -> None:
    assert parse_record(b'{"key":%b}' % written, None).key == key


@pytest.mark.parametrize("raw", [b"{}", b'{"key":null}', b'{"key":""}'])
def test_a_record_without_a_key_is_known_by_its_content(raw: bytes) -> None:
    record = parse_record(raw, None)
    assert record.key is None
    assert record.identity.startswith("sha256:")
    assert record.identity == parse_record(raw, None).identity
    assert (
        record.identity != parse_record(raw[:-1] + (b"," if len(raw) > 2 else b"") + b'"a":1}', None).identity
    )


@pytest.mark.parametrize("key", ["true", "false", "[]", '["A"]', "{}"])
def test_a_key_of_another_type_is_refused(key: str) -> None:
    with pytest.raises(MakiniProtocolError, match="'key' should be text or a number"):
        parse_record(b'{"key":%b}' % key.encode(), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b'[{"key":"1"}]',
        b'{"key":"1"',
        b'{"key":"1"}{"key":"2"}',
        b'{"key":"1","a":NaN}',
        b'{"key":"1","a":Infinity}',
        b'{"key":"1","a":01}',
        b'{"key":"1","a":"line\nbreak"}',
        b'{"key":"1","a":"tab\t"}',
        b'{"key":"1","a":"\\x"}',
        b'{"key":"\xff"}',
        b'{"key":1e999}',
        b'{"key":' + b"1" * 5000 + b"}",
        b'{"key":"1","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"key":"1",\n"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(MakiniProtocolError):
        parse_record(raw, "updatedAt")


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_a_pretty_printed_record_becomes_one_line_and_its_literals_stay(line_break: str) -> None:
    pretty = (
        '{ "key" : "A 1",\n\t"price": 1.10, "big": 123456789012345678901234567890,\n'
        '"rate" : 1e5, "zero":-0.0, "tiny": 1E-400,\n "list": [ 1, 2 ],\n"text": "a  b\\nü\\u00fc\\/" }'
    )
    one_line = (
        '{"key":"A 1","price":1.10,"big":123456789012345678901234567890,'
        '"rate":1e5,"zero":-0.0,"tiny":1E-400,"list":[1,2],"text":"a  b\\nü\\u00fc\\/"}'
    )
    assert parse_record(pretty.replace("\n", line_break).encode(), None).raw == one_line.encode()


@given(json_objects, st.booleans())
def test_a_record_on_one_line_keeps_its_bytes(content: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(content, ensure_ascii=ascii_only).encode()
    try:
        record = parse_record(raw, "updatedAt")
    except MakiniProtocolError:
        assert isinstance(content["key"], bool | list | dict)  # nothing else is refused
    else:
        assert record.raw == raw


@given(json_objects, st.sampled_from([0, 1, "\t", " \r\n"]))
def test_a_record_on_many_lines_keeps_its_content(content: dict[str, Any], indent: Any) -> None:
    content.pop("key", None)
    record = parse_record(json.dumps(content, indent=indent).encode(), "updatedAt")
    assert b"\n" not in record.raw
    assert b"\r" not in record.raw
    assert json.loads(record.raw) == content


@given(st.binary())
def test_any_bytes_give_a_record_or_a_protocol_error(raw: bytes) -> None:
    try:
        record = parse_record(raw, "updatedAt")
    except MakiniProtocolError:
        return
    assert b"\n" not in record.raw


# Times


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-15T10:00:00Z",
        "2026-01-15T10:00:00.000Z",
        "2026-01-15T10:00:00+00:00",
        "2026-01-15T12:00:00+02:00",
        "2026-01-15T12:00:00+0200",
        "2026-01-15T04:30:00-05:30",
        "2026-01-15T10:00:00",
        "2026-01-15 10:00:00",
        "2026-01-15T10:00Z",
        " 2026-01-15T10:00:00Z ",
        1768471200,
        1768471200.0,
        1768471200000,
        "1768471200",
        "1768471200000",
    ],
)
def test_every_spelling_of_an_instant_is_read(written: Any) -> None:
    instant = parse_instant(written)
    assert instant == datetime(2026, 1, 15, 10, tzinfo=UTC)
    assert instant is not None
    assert instant.utcoffset() == timedelta(0)


@pytest.mark.parametrize("digits", range(1, 10))
def test_a_fraction_is_cut_to_the_microsecond(digits: int) -> None:
    fraction = "987654321"[:digits]
    expected = int(fraction[:6].ljust(6, "0"))
    instant = parse_instant(f"2026-01-15T10:00:00.{fraction}Z")
    assert instant == datetime(2026, 1, 15, 10, 0, 0, expected, tzinfo=UTC)


def test_a_date_alone_is_its_midnight_in_utc() -> None:
    assert parse_instant("2023-11-07") == datetime(2023, 11, 7, tzinfo=UTC)


@pytest.mark.parametrize("epoch", [1611111111, 1611111111000, "1611111111", "1611111111000"])
def test_epoch_digits_are_not_mistaken_for_a_date(epoch: Any) -> None:
    assert parse_instant(epoch) == datetime(2021, 1, 20, 2, 51, 51, tzinfo=UTC)


@pytest.mark.parametrize("digits", ["", ".1", ".12", ".123"])
def test_epoch_milliseconds_keep_their_fraction(digits: str) -> None:
    milliseconds = int(float(f"1768471200{digits}") * 1000)
    assert parse_instant(milliseconds) == datetime.fromtimestamp(1768471200, UTC) + timedelta(
        milliseconds=milliseconds % 1000
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "",
        "soon",
        "0000-00-00",
        "0000-00-00 00:00:00",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "15.01.2026",
        "2026",
        [],
        {},
        {"date": "2026-01-15"},
        float("nan"),
        float("inf"),
        10**400,
        1e300,
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "9" * 5000,
    ],
)
def test_what_names_no_instant_is_none(value: Any) -> None:
    assert parse_instant(value) is None


@given(json_values)
def test_any_value_is_an_instant_in_utc_or_none(value: Any) -> None:
    instant = parse_instant(value)
    assert instant is None or instant.utcoffset() == timedelta(0)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_survives_being_written_and_read(instant: datetime) -> None:
    assert parse_instant(format_instant(instant)) == instant


def test_instants_are_written_in_utc_with_a_fraction_only_where_there_is_one() -> None:
    east = timezone(timedelta(hours=2))
    assert format_instant(datetime(2026, 1, 15, 12, tzinfo=east)) == "2026-01-15T10:00:00Z"
    assert format_instant(datetime(2026, 1, 15, 12, 0, 0, 5, tzinfo=UTC)) == "2026-01-15T12:00:00.000005Z"
