"""The one line that says why an agent ended."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.runtimes.detail import REDACTED, failure_detail


def test_an_error_document_gives_its_place_and_message() -> None:
    line = json.dumps({"error": {"where": "127.0.0.1:20001", "message": "the port is taken"}})
    assert (
        failure_detail(3, ["starting", line]) == "exit status 3: 127.0.0.1:20001: the port is taken"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ModuleNotFoundError: No module named 'x'", "ModuleNotFoundError: No module named 'x'"),
        ('{"level": "info", "message": "stopping"}', "stopping"),
        ('{"error": {"message": "no token"}}', "no token"),
        ("[1, 2]", "[1, 2]"),
        ('{"error": "text"}', '{"error": "text"}'),
    ],
)
def test_other_last_lines(line: str, said: str) -> None:
    assert failure_detail(1, ["before", line, "", "  "]) == f"exit status 1: {said}"


def test_a_deeply_nested_line_is_text() -> None:
    assert failure_detail(1, ["[" * 100_000]).startswith("exit status 1: [[[")


def test_signals_have_names() -> None:
    assert failure_detail(-9, []) == "ended by SIGKILL"
    assert failure_detail(-40, []) == "ended by signal 40"


def test_a_secret_is_not_repeated() -> None:
    detail = failure_detail(1, ["bad token s3cret!"], secrets=["s3cret", ""])
    assert detail == f"exit status 1: bad token {REDACTED}!"


@given(st.text(), st.integers(-64, 255))
def test_always_one_short_printable_line(text: str, status: int) -> None:
    detail = failure_detail(status, [text])
    assert detail.isprintable()
    assert len(detail) < 400
