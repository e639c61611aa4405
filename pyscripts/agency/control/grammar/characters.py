"""Characters that a command may contain: those that a reader can see and tell apart.

A forbidden character is refused inside quotes too, so that the approved and audited text is the
text that the reader saw. Sources: Unicode 15, chapter 4 (general categories),
DerivedCoreProperties.txt (Default_Ignorable_Code_Point), UAX #15 (normalisation, stream-safe text).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import zip_longest

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})

# Invisible characters of other categories: default-ignorable marks and fillers, and the
# blank braille pattern.
_HIDDEN_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_QUOTES = frozenset(
    "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u00ab\u00bb\uff02\uff07"
)
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d")

_MAX_MARKS = 30  # on one character: UAX #15, stream-safe text format

_CONTROL_NAMES = {0: "NUL", 9: "TAB", 10: "LINE FEED", 13: "CARRIAGE RETURN", 27: "ESCAPE"}
_CONTROL_NAMES[0x7F] = "DELETE"


@dataclass(frozen=True, slots=True)
class CharacterProblem:
    """A forbidden text[start:end], with the fault and the remedy."""

    start: int
    end: int
    message: str
    hint: str


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible, moves others, or has no meaning.

    Every space but U+0020 counts as hidden too.
    """
    if " " <= character <= "~":
        return False
    code = ord(character)
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or any(
        first <= code <= last for first, last in _HIDDEN_RANGES
    )


def escape(text: str) -> str:
    """Return `text` with every hidden character spelled as `<U+200B>`."""
    return "".join(f"<U+{ord(each):04X}>" if is_hidden(each) else each for each in text)


def describe(character: str) -> str:
    """Return a character's code and name: `U+200B ZERO WIDTH SPACE`."""
    code = ord(character)
    name = unicodedata.name(character, _CONTROL_NAMES.get(code, ""))
    return f"U+{code:04X} {name}".rstrip()


def first_problem(text: str) -> CharacterProblem | None:
    """Find the first character or sequence in `text` that a command may not contain."""
    if text.isascii() and text.isprintable():
        return None
    marks = 0
    for index, character in enumerate(text):
        problem = _single(character, index)
        if problem is not None:
            return problem
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MAX_MARKS:
            return CharacterProblem(
                index - _MAX_MARKS,
                index + 1,
                f"more than {_MAX_MARKS} marks stand on one character, from column "
                f"{index - _MAX_MARKS + 1}",
                "leave the marks out",
            )
    return _not_composed(text)


def _single(character: str, index: int) -> CharacterProblem | None:
    if is_hidden(character):
        kind, hint = _hidden_kind(character)
    elif character in _QUOTES:
        kind, hint = "a typographic quote", "use straight quotes: \" or '"
    elif character in _DASHES:
        kind, hint = "a typographic dash", "use plain hyphens: - in a name, -- before a flag"
    else:
        return None
    message = f"{kind} is not allowed: {describe(character)} at column {index + 1}"
    return CharacterProblem(index, index + 1, message, hint)


def _hidden_kind(character: str) -> tuple[str, str]:
    delete = "delete it, or type that part again"
    category = unicodedata.category(character)
    if character in "\n\r\x85\u2028\u2029":
        return "a line break", "send one command a message, on one line"
    if category == "Cc":
        return "a control character", delete
    if character in _BIDI:
        return "a character that changes the direction of writing", delete
    if category == "Zs":
        return "an unusual space", "use ordinary spaces"
    if category == "Cs":
        return "half of a surrogate pair", delete
    if category in ("Co", "Cn"):
        return "a character without a meaning of its own", delete
    return "an invisible character", delete


def _not_composed(text: str) -> CharacterProblem | None:
    composed = unicodedata.normalize("NFC", text)
    if composed == text:
        return None
    pairs = zip_longest(text, composed)
    start = next(index for index, (given, wanted) in enumerate(pairs) if given != wanted)
    end = start + 1
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return CharacterProblem(
        start,
        end,
        f"a character is not in its composed form (NFC): {describe(text[start])} at column "
        f"{start + 1}",
        "type that character again with a keyboard, or leave its accents out",
    )
