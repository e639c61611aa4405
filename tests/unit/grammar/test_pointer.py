"""The picture of an error: the command and carets under what is wrong."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.commands import parse
from agency.control.grammar.characters import is_hidden
from agency.control.grammar.errors import CommandError, picture


def pointer(text: str) -> list[str]:
    with pytest.raises(CommandError) as caught:
        parse(text)
    return caught.value.pointer().split("\n")


def test_a_word():
    assert pointer("!agency agents strat pm") == [
        "!agency agents strat pm",
        "               ^^^^^",
    ]


def test_the_place_where_something_is_missing():
    assert pointer("!start-agent") == ["!start-agent", "            ^"]


def test_a_hidden_character_is_spelled_out():
    assert pointer("!start-agent p\u200bm") == [
        "!start-agent p<U+200B>m",
        "              ^^^^^^^^",
    ]


def test_one_before_the_place_moves_the_carets():
    assert picture("a\u200bb c", 4, 5) == "a<U+200B>b c\n           ^"


def test_wide_characters_and_marks():
    assert picture("\u6771\u4eac x", 3, 4) == "\u6771\u4eac x\n     ^"
    assert picture("\u6771\u4eac x", 1, 2) == "\u6771\u4eac x\n  ^^"
    assert picture("q\u0301\u20dd x", 4, 5) == "q\u0301\u20dd x\n  ^"
    assert picture("\uff01a", 1, 2) == "\uff01a\n  ^"
    assert picture("q\u0301", 1, 2) == "q\u0301\n ^"


def test_a_long_command_is_cut_on_both_sides():
    text = "a" * 100 + "WRONG" + "b" * 100
    line, carets = picture(text, 100, 105).split("\n")
    assert line == "..." + "a" * 30 + "WRONG" + "b" * 35 + "..."
    assert carets == " " * 33 + "^" * 5


def test_what_is_half_cut_is_left_out():
    before = "b\u6771" + "a" * 29
    assert picture(f"{before}WRONG", 31, 36).split("\n")[0] == "..." + "a" * 29 + "WRONG"
    before = "a" * 29 + "\u6771"
    assert picture(f"{before}WRONG", 30, 35).split("\n")[0] == f"...{before[1:]}WRONG"


def test_what_fits_is_not_cut():
    text = "a" * 30 + "WRONG" + "b" * 38
    assert picture(text, 30, 35) == f"{text}\n{' ' * 30}^^^^^"
    assert picture(f"a{text}", 31, 36).startswith("...a")
    assert picture(f"{text}b", 30, 35).split("\n")[0] == f"{text}..."


def test_a_long_span_is_cut():
    line, carets = picture("x" * 500, 0, 500).split("\n")
    assert line == "x" * 73 + "..."
    assert carets == "^" * 73


def test_the_end_of_a_long_text():
    line, carets = picture("x" * 500, 500, 500).split("\n")
    assert line == "..." + "x" * 30
    assert carets == " " * 33 + "^"


@given(st.text(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_a_picture_is_two_short_lines_without_anything_hidden(text, one, other):
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    line, carets = picture(text, start, end).split("\n")
    assert not any(is_hidden(each) for each in line)
    assert set(carets) <= {" ", "^"}
    assert "^" in carets
    columns = sum(
        0
        if unicodedata.category(each) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(each) in "WF"
        else 1
        for each in line
    )
    assert columns <= 76
    assert len(carets) <= 77
