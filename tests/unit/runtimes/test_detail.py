"""The one line that says why an agent ended."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.runtimes.detail import failure_detail
from agency.secrets.redact import MARK, encodings
from agency.secrets.values import SecretValue


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


def test_who_was_killed_said_nothing_of_it() -> None:
    routine = '{"level": "info", "message": "request"}'
    assert failure_detail(-9, ["Traceback", routine]) == "ended by SIGKILL"
    assert failure_detail(-6, [routine, "out of memory"]) == "ended by SIGABRT: out of memory"


def test_a_secret_is_not_repeated() -> None:
    detail = failure_detail(1, ["bad token s3cret!"], secrets=[SecretValue("s3cret")])
    assert detail == f"exit status 1: bad token {MARK}!"


TOKEN = 'Zq81-"<token>"_+/ =& of-an-agent'


def _basic(user: str) -> str:
    return base64.b64encode(f"{user}:{TOKEN}".encode()).decode()


@pytest.mark.parametrize("form", [*sorted(encodings(TOKEN)), *map(_basic, ("a", "pm", "agent"))])
def test_no_form_of_a_secret_is_repeated(form: str) -> None:
    secret = SecretValue(TOKEN)
    for line in (f"Authorization: Basic {form}", json.dumps({"message": f"got {form}."})):
        plain = failure_detail(1, [line])
        assert plain.isprintable()
        detail = failure_detail(1, [line], secrets=[secret])
        assert MARK in detail
        assert not any(known in detail for known in encodings(TOKEN)), detail
        assert plain != detail, "the same line without a secret to hide is shown whole"


def test_a_secret_is_removed_before_the_line_is_cut() -> None:
    line = "x" * 290 + TOKEN
    detail = failure_detail(1, [line], secrets=[SecretValue(TOKEN)])
    assert TOKEN[:6] not in detail
    assert TOKEN[:6] in failure_detail(1, [line])


@given(st.text(), st.integers(-64, 255))
def test_always_one_short_printable_line(text: str, status: int) -> None:
    detail = failure_detail(status, [text])
    assert detail.isprintable()
    assert len(detail) < 400
