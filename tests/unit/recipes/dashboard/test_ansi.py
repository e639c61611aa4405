"""Text of logs: coloured where that is safe, and nothing in it is obeyed or hidden."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.recipes.dashboard.logs.ansi import Span, Style, plain, spans, whole


def shown(text: str) -> list[tuple[str, str]]:
    return [tuple(one) for one in spans(text, Style())]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[31mred\x1b[0m end", [("c1", "red"), ("", " end")]),
        ("\x1b[1;92mgood\x1b[22m\x1b[39m.", [("c10 bold", "good"), ("", ".")]),
        ("\x1b[38;5;9mx\x1b[38;5;200my\x1b[38;2;1;2;3mz", [("c9", "x"), ("", "y"), ("", "z")]),
        ("\x1b[mx\x1b[4;3my", [("", "x"), ("italic underlined", "y")]),
    ],
)
def test_colours_of_letters_become_classes(text: str, wanted: list[tuple[str, str]]) -> None:
    assert shown(text) == wanted


@pytest.mark.parametrize("code", ["8", "40", "41", "48;5;0", "48;2;0;0;0", "107", "7", "5"])
def test_nothing_can_be_hidden_by_a_colour(code: str) -> None:
    assert shown(f"\x1b[{code}msecret") == [("", "secret")]


def test_a_ground_does_not_change_the_colour_that_follows_in_the_same_sequence() -> None:
    assert shown("\x1b[48;5;1;32mx") == [("c2", "x")]
    assert shown("\x1b[48;2;9;9;9;32mx") == [("c2", "x")]


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[2J",
        "\x1b[10;10H",
        "\x1b[?1049h",
        "\x1b]0;a title\x07",
        "\x1b]8;;https://evil.example\x1b\\",
        "\x1bP1$r0m\x1b\\",
        "\x1bc",
        "\x1b(0",
    ],
)
def test_other_sequences_are_left_out(sequence: str) -> None:
    assert plain(f"a{sequence}b") == "ab"
    assert shown(f"a{sequence}b") == [("", "a"), ("", "b")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\x07b\x00c", "a\\x07b\\x00c"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("one\r\ntwo\rthree\n\tfour", "one\ntwo\nthree\n\tfour"),
        ("no\u00a0break, \u3000wide", "no\u00a0break, \u3000wide"),
        ("\x1b", "\\x1b"),
    ],
)
def test_control_characters_are_shown(text: str, wanted: str) -> None:
    assert plain(text) == wanted


_PIECES = st.sampled_from(
    ["a", "\n", "\r\n", "\r", "ä", "日", "😀", "\x1b[31m", "\x1b[0m", "\x1b[2K", "\x1b]0;t\x07",
     "\x1b]8;;u\x1b\\", "\x1b", "\x1b[", "\x1b(B", "\x07", " "]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=30), st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_what_comes_in_pieces_is_shown_as_if_it_had_come_at_once(
    parts: list[str], sizes: list[int]
) -> None:
    data = "".join(parts).encode()
    style, at, end, made = Style(), 0, 0, []
    while end < len(data):
        end = min(len(data), end + sizes[len(made) % len(sizes)])
        length = whole(data[at:end]) if end < len(data) else end - at
        made.append(list(spans(data[at : at + length].decode(), style)))
        at += length
    assert at == len(data)
    assert _letters([one for piece in made for one in piece]) == _letters(
        list(spans(data.decode(), Style()))
    )


def _letters(found: list[Span]) -> list[tuple[str, str]]:
    return [(style, letter) for style, text in found for letter in text]


@pytest.mark.parametrize("data", [b"\xff", b"\xe6\x97", b"a\xc3", b"\xf0\x9f\x98", b"\x80\x80"])
def test_half_a_character_waits_and_no_character_at_all_does_not(data: bytes) -> None:
    assert whole(data + b"a") == len(data) + 1
    assert whole(b"ok" + data) <= len(data) + 2
    assert whole(b"\x1b" + b"x" * 5000) == 5001, "nothing waits for ever"
