"""A record has one form; any other is found."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.canonical import canonical_json
from agency.workspace.audit.record import Sender, genesis, next_record, parse_record

SENDER = Sender(4000, 7)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


def made(detail: dict):
    return next_record(genesis("pm"), "pm", "2026-01-01T00:00:00.000Z", SENDER, "x", detail)


@given(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_a_record_is_read_as_it_was_written(detail: dict) -> None:
    record = made(detail)
    assert parse_record(record.line()) == record


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    line = bytearray(made({"to": "a", "n": 1}).line())
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"is not|was edited"):
        parse_record(bytes(line))


@given(st.binary(max_size=300))
def test_any_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_record(data)


def test_another_form_of_the_same_values_is_found() -> None:
    record = made({})
    assert parse_record(record.line())
    spaced = json.dumps(asdict(record), sort_keys=True).encode() + b"\n"
    with pytest.raises(ValueError, match="not in the form"):
        parse_record(spaced)
    extra = canonical_json(asdict(record) | {"more": 1}) + b"\n"
    with pytest.raises(ValueError, match=r"not in the form|not a record"):
        parse_record(extra)


def test_logs_of_two_agents_do_not_begin_alike() -> None:
    assert genesis("pm") != genesis("pm2")
