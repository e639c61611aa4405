"""Terminal of a trial: what others wrote is shown and not obeyed, and no letter of it is lost."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from agency.agent.trying.terminal import Lines, Terminal, _wrapped
from agency.agent.trying.watching import Watch

EVIL = "a\x1b[2Jb\x07\u202ec"


@pytest.fixture
def shown() -> tuple[Terminal, io.StringIO]:
    out = io.StringIO()
    return Terminal(Console(file=out, width=80, force_terminal=True, no_color=True), None), out


def test_what_others_wrote_is_not_obeyed(shown: tuple[Terminal, io.StringIO]) -> None:
    terminal, out = shown
    terminal.show(EVIL)
    terminal.brief(EVIL)
    terminal.fields([("tool", EVIL)])
    for bad in ("\x1b[2J", "\x07", "\u202e"):
        assert bad not in out.getvalue()
    assert out.getvalue().count("\\x1b[2Jb\\x07\\u202ec") == 3


def test_a_line_is_cut_and_a_field_is_whole(shown: tuple[Terminal, io.StringIO]) -> None:
    terminal, out = shown
    terminal.brief("x" * 500)
    terminal.fields([("arguments", "y" * 500)])
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert (out.getvalue().count("x") < 80, out.getvalue().count("y")) == (True, 500)


@settings(deadline=None)
@given(st.text(alphabet="ab ", max_size=200), st.integers(20, 70))
def test_wrapping_loses_no_letter(text: str, width: int) -> None:
    lines = _wrapped(text, width)
    assert "".join(lines) == text
    assert all(len(each) <= width for each in lines)


async def test_a_line_comes_whole_and_the_end_once() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    os.write(writing, b"one\ntwo\nlast")
    assert await lines.next() == "one"
    lines.forget()
    os.write(writing, b" of it\n")
    os.close(writing)
    assert await lines.next() == " of it"
    assert await lines.next() is None
    os.close(reading)


async def test_nobody_is_asked_where_nobody_is(shown: tuple[Terminal, io.StringIO]) -> None:
    assert await shown[0].ask("well? ") is None
    assert "well?" not in shown[1].getvalue()


async def test_each_call_is_shown_with_what_decided_it(
    shown: tuple[Terminal, io.StringIO],
) -> None:
    terminal, out = shown
    watch = Watch(terminal)
    for why, rule, told in (
        ("policy", None, "deny: no rule allows it"),
        ("policy", "never", "deny, by the rule never"),
        ("cut-off", None, "deny: the server's tools changed"),
    ):
        row = {"call": told, "tool": "a/b", "decision": "deny", "rule": rule, "why": why}
        await watch.record("tool.decided", row)
        assert told in out.getvalue()
    assert [each["rule"] for each in watch.calls.values()] == [None, "never", None]
