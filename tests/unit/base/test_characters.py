"""Whole characters: pairs joined, halves replaced, and nothing else changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.characters import Pieces, whole_characters, whole_escapes

ANY = st.text(st.characters() | st.sampled_from("\ud83d\ude00\\u"))  # halves are likely
WHOLE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("a😀", "a😀"),
        ("a\ud83d\ude00", "a😀"),
        ("\ud83d", "\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83dx\ud83d\ude00", "\ufffdx😀"),
    ],
)
def test_pairs_and_halves(text: str, whole: str) -> None:
    assert whole_characters(text) == whole


@given(ANY)
def test_what_comes_out_has_a_form_in_utf_8(text: str) -> None:
    found = whole_characters(text)
    assert found.encode().decode() == found
    assert json.loads(whole_escapes(json.dumps(text))) == found


@given(WHOLE)
def test_a_text_without_halves_stays_as_it_is(text: str) -> None:
    assert whole_characters(text) == text
    for written in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        assert whole_escapes(written) == written


@given(st.lists(ANY, max_size=5))
def test_pieces_are_the_text_up_to_a_first_half_that_waits(texts: list[str]) -> None:
    pieces = Pieces()
    told = "".join(pieces.take(each) for each in texts)
    whole = whole_characters("".join(texts))
    assert told in (whole, whole[:-1])
    assert told == whole or "\ud800" <= "".join(texts)[-1] < "\udc00"
