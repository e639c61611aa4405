"""Characters that no command may hold."""

from __future__ import annotations

import unicodedata

import pytest

from agency.control.commands import parse
from agency.control.grammar.characters import describe, escape, first_problem, is_hidden
from agency.control.grammar.errors import CommandError, Reason

DELETE = "delete it, or type that part again"
LINE = ("a line break", "send one command a message, on one line")
CONTROL = ("a control character", DELETE)
BIDI = ("a character that changes the direction of writing", DELETE)
SPACE = ("an unusual space", "use ordinary spaces")
SURROGATE = ("half of a surrogate pair", DELETE)
MEANINGLESS = ("a character without a meaning of its own", DELETE)
INVISIBLE = ("an invisible character", DELETE)
QUOTE = ("a typographic quote", "use straight quotes: \" or '")
DASH = ("a typographic dash", "use plain hyphens: - in a name, -- before a flag")

FORBIDDEN = {
    LINE: [0x0A, 0x0D, 0x85, 0x2028, 0x2029],
    CONTROL: [0x00, 0x01, 0x09, 0x0B, 0x1B, 0x1F, 0x7F, 0x80, 0x9F],
    BIDI: [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    SPACE: [0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000],
    SURROGATE: [0xD800, 0xDBFF, 0xDC00, 0xDFFF],
    MEANINGLESS: [0xE000, 0xF8FF, 0xF0000, 0x10FFFD, 0x0378, 0xFFFE, 0xFFFF, 0x10FFFF, 0x2065],
    INVISIBLE: [
        *(0xAD, 0x34F, 0x600, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180E),
        *(0x180F, 0x200B, 0x200C, 0x200D, *range(0x2060, 0x2065), 0x206A, 0x206F, 0x2800),
        *(0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF9, 0x1D173, 0xE0001, 0xE0020, 0xE007F),
        *(0xE0100, 0xE01EF),
    ],
    QUOTE: [*range(0x2018, 0x2020), 0x2032, 0x2033, 0xAB, 0xBB, 0xFF02, 0xFF07],
    DASH: [*range(0x2010, 0x2016), 0x2212, 0xFF0D],
}

ALL = [(code, *kind) for kind, codes in FORBIDDEN.items() for code in codes]


@pytest.mark.parametrize(
    ("code", "kind", "hint"), ALL, ids=[f"U+{code:04X}-{kind}" for code, kind, _ in ALL]
)
def test_refused_outside_and_inside_quotes_with_its_place(code, kind, hint):
    for text in (f"!start-agent p{chr(code)}m", f"!start-agent pm --project='a{chr(code)}b'"):
        with pytest.raises(CommandError) as caught:
            parse(text)
        error, place = caught.value, text.index(chr(code))
        assert error.reason is Reason.CHARACTER
        assert (error.start, error.end) == (place, place + 1)
        assert error.message.startswith(f"{kind} is not allowed: U+{code:04X}")
        assert error.message.endswith(f" at column {place + 1}")
        assert error.hint == hint


@pytest.mark.parametrize("place", [0, 1, 7, 8, 12, 20])
def test_refused_wherever_it_stands(place):
    text = "!agency agents list "
    parse(text)
    with pytest.raises(CommandError) as caught:
        parse(text[:place] + "\u200b" + text[place:])
    assert (caught.value.start, caught.value.end) == (place, place + 1)


def test_the_first_of_several_is_named():
    with pytest.raises(CommandError, match="RIGHT-TO-LEFT OVERRIDE at column 14"):
        parse("!start-agent \u202ep\u200bm")


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\x00", "U+0000 NUL"),
        ("\t", "U+0009 TAB"),
        ("\n", "U+000A LINE FEED"),
        ("\r", "U+000D CARRIAGE RETURN"),
        ("\x1b", "U+001B ESCAPE"),
        ("\x7f", "U+007F DELETE"),
        ("\x01", "U+0001"),
        ("\ud800", "U+D800"),
        ("\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A"),
        ("é", "U+00E9 LATIN SMALL LETTER E WITH ACUTE"),
    ],
)
def test_names_of_characters(character, name):
    assert describe(character) == name


@pytest.mark.parametrize(
    ("value", "start", "end", "named"),
    [
        ("cafe\u0301", 3, 5, "U+0065 LATIN SMALL LETTER E"),
        ("cafe\u0301s", 3, 5, "U+0065 LATIN SMALL LETTER E"),
        ("e\u0323\u0301x", 0, 3, "U+0065 LATIN SMALL LETTER E"),
        ("\u212bngstrom", 0, 1, "U+212B ANGSTROM SIGN"),
        ("x\u0327\u0327\u0301\u0327", 3, 5, "U+0301 COMBINING ACUTE ACCENT"),
        ("\u1100\u1161", 0, 1, "U+1100 HANGUL CHOSEONG KIYEOK"),
    ],
)
def test_only_composed_text(value, start, end, named):
    prefix = "!start-agent pm --project="
    with pytest.raises(CommandError) as caught:
        parse(prefix + value)
    error, before = caught.value, len(prefix)
    assert error.reason is Reason.CHARACTER
    assert (error.start, error.end) == (before + start, before + end)
    assert error.message == (
        f"a character is not in its composed form (NFC): {named} at column {before + start + 1}"
    )
    assert error.hint == "type that character again with a keyboard, or leave its accents out"
    composed = unicodedata.normalize("NFC", value)
    assert parse(prefix + composed).argument("project") == composed


def test_marks_are_not_piled_up():
    most = "q" + "\u0301" * 30
    assert first_problem(most) is None
    assert first_problem(most + "q" + "\u0301" * 30) is None
    assert first_problem(most[1:]) is None
    problem = first_problem(most[1:] + "\u0301")
    assert problem is not None
    assert (problem.start, problem.end) == (0, 31)
    problem = first_problem(f"x{most}\u0301 and more")
    assert problem is not None
    assert (problem.start, problem.end) == (2, 33)
    assert problem.message == "more than 30 marks stand on one character, from column 3"
    assert problem.hint == "leave the marks out"


def test_visible_text_of_any_script_is_allowed():
    for text in ("plain ~ text!", "Straße", "東京", "Ελλάδα", "עברית", "हिन्दी", "🚀", "naïve"):
        assert first_problem(text) is None
        assert escape(text) == text
        assert not any(is_hidden(each) for each in text)


def test_all_of_ascii():
    assert [chr(code) for code in range(128) if is_hidden(chr(code))] == [
        *map(chr, range(32)),
        "\x7f",
    ]


def test_hidden_characters_are_spelled_out():
    assert escape("a\u200bb\n\U000e0041 c") == "a<U+200B>b<U+000A><U+E0041> c"
