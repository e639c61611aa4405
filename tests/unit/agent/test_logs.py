"""A log line is one JSON object, whatever is logged."""

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from agency.commandline.logs import JsonLines


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.WARNING, __file__, 1, message, None, None)
    made.created = 1_700_000_000.0
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def test_time_level_message_and_fields() -> None:
    line = json.loads(JsonLines().format(record("hello", fields={"port": 1, "trace": None})))
    assert line == {
        "time": "2023-11-14T22:13:20.000Z",
        "level": "warning",
        "message": "hello",
        "port": 1,
        "trace": None,
    }


@given(st.text())
def test_always_one_line(text: str) -> None:
    line = JsonLines().format(record(text, fields={"said": text}))
    assert line.isprintable()
    assert json.loads(line)["message"] == json.loads(line)["said"] == text[:4096]


def test_long_texts_are_cut() -> None:
    line = JsonLines().format(record("x" * 100_000, fields={"said": "y" * 100_000}))
    assert len(line) < 10_000


def test_an_exception_is_in_the_line() -> None:
    try:
        int("what went wrong")
    except ValueError:
        line = JsonLines().format(record("failed", exc_info=sys.exc_info()))
    assert "what went wrong" in json.loads(line)["exception"]
    assert "\n" not in line


def test_a_value_that_is_not_json_is_logged_by_its_own_text() -> None:
    class Opaque:
        def __str__(self) -> str:
            return "[secret]"

    assert json.loads(JsonLines().format(record("x", fields={"t": Opaque()})))["t"] == "[secret]"
