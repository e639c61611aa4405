"""A line is an event within bounds, or a refusal that says what is wrong; nothing else happens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import BadInputError
from agency.protocols.audit_socket import MAX_LINE
from agency.workspace.audit.service.event import MAX_DETAIL, parse_event

KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True)
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
DETAILS = st.dictionaries(KEYS, st.none() | st.integers(-9, 9) | PLAIN, max_size=4)


def encoded(event: object, detail: object = None) -> bytes:
    return json.dumps({"event": event, "detail": {} if detail is None else detail}).encode()


def refused_or_taken(line: bytes) -> None:
    try:
        event = parse_event(line)
    except BadInputError:
        return
    assert parse_event(event.model_dump_json().encode()) == event


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_refusal(data: bytes) -> None:
    refused_or_taken(data)


@given(
    st.recursive(
        st.none() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_json_is_an_event_or_a_refusal(value: object) -> None:
    refused_or_taken(json.dumps(value).encode())


@given(DETAILS)
def test_what_is_within_the_bounds_is_taken_as_it_is(detail: dict) -> None:
    event = parse_event(encoded("task.done", detail))
    assert (event.event, event.detail) == ("task.done", detail)


@pytest.mark.parametrize("name", ["a", "task.done", "mail-sent_2.x", "a" * 64, "logs.x", "log"])
def test_names(name: str) -> None:
    assert parse_event(encoded(name)).event == name


@pytest.mark.parametrize(
    "name", ["", "A", "a.", ".a", "a..b", "a b", "a\n", "ä", "a" * 65, 1, None, "1a"]
)
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(BadInputError, match="event: "):
        parse_event(encoded(name))


def test_events_of_the_log_itself_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"event: .*log\.' are the log's own"):
        parse_event(encoded("log.removed"))


@pytest.mark.parametrize("field", ["agent", "uid", "pid", "at", "sequence", "hash"])
def test_nothing_that_the_service_knows_can_be_claimed(field: str) -> None:
    given = {"event": "task.done", "detail": {}}
    assert parse_event(json.dumps(given).encode())
    with pytest.raises(BadInputError, match=f"{field}: "):
        parse_event(json.dumps(given | {field: "other"}).encode())


@pytest.mark.parametrize(
    "value",
    [
        "\x7f",
        "\x9b31m",
        "\u202e",
        "\u2066",
        "\u2028",
        "\ud800",
        2**53,
        [[[[1]]]],
        {"a": {"b": {"c": {}}}},
        {"": 1},
        {"a b": 1},
        "x" * MAX_DETAIL,
    ],
)
def test_details_that_are_refused(value: object) -> None:
    with pytest.raises(BadInputError, match="detail: "):
        parse_event(encoded("x", {"key": value}))


@pytest.mark.parametrize(
    "value", ["line\nbreak", "\x1b[31m", "日本", "👩‍👩‍👧", 2**53 - 1, [[[1]]], 1.5, "x" * 2000]
)
def test_details_that_are_taken(value: object) -> None:
    assert parse_event(encoded("x", {"key": value})).detail == {"key": value}


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"x","event":"y","detail":{}}',
        b'{"event":"x","detail":{"a":1,"a":2}}',
        b'{"event":"x","detail":{"a":NaN}}',
        b'{"event":"x","detail":{"a":1e999}}',
        b'{"event":"x","detail":[]}',
        b'{"event":"x"} {"event":"y"}',
        b"[" * (MAX_LINE - 1),
        b"\xff",
        b"",
        b"null",
    ],
)
def test_lines_that_are_refused(line: bytes) -> None:
    with pytest.raises(BadInputError):
        parse_event(line)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(BadInputError) as caught:
        parse_event(encoded("x", {"key": "hunter2\u202e"}))
    assert "hunter2" not in str(caught.value)


def test_a_line_has_a_bound() -> None:
    body = encoded("x")
    assert parse_event(body.ljust(MAX_LINE))
    with pytest.raises(BadInputError, match="longer than"):
        parse_event(body.ljust(MAX_LINE + 1))
