"""Text of a log as spans that a page may show: colours become classes, all else is plain. Pure.

Only colours of the letters, bold, italic and underlined are kept. Colours of the ground and hidden
text are not: with them a log could hide what it says. Other sequences are left out, and control
characters, as those that turn the direction of writing, are shown as escapes.

Source: ECMA-48, sections 5.4, 5.6 and 8.3.117; Unicode, "Bidirectional Character Types".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import category

# CSI, then strings (OSC, DCS, SOS, PM, APC) with BEL or ST as their end, then other escapes.
_SEQUENCE = re.compile(
    r"\x1b\[([0-?]{0,64})[ -/]{0,8}([@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)"
    r"|\x1b[ -/]{0,8}[0-~]"
)
_UNENDED = re.compile(
    rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]PX^_][^\x07\x1b\n]{0,2048}\x1b?|[ -/]{0,8})?\Z"
)
_MOST_UNENDED = 2100
_BRIGHT = 8


class Span(NamedTuple):
    """Text of one style; `style` is a list of class names."""

    style: str
    text: str


@dataclass(slots=True)
class Style:
    """Style that the text has now: a colour from 0 to 15, and three marks."""

    colour: int | None = None
    bold: bool = False
    italic: bool = False
    underlined: bool = False

    def classes(self) -> str:
        """Return the class names."""
        names = [] if self.colour is None else [f"c{self.colour}"]
        marks = (("bold", self.bold), ("italic", self.italic), ("underlined", self.underlined))
        return " ".join([*names, *(name for name, there in marks if there)])

    def obey(self, parameters: str) -> None:
        """Follow one "select graphic rendition"; what is not known changes nothing."""
        codes = [int(part) if part.isdecimal() else 0 for part in parameters.split(";")]
        at = 0
        while at < len(codes):
            at += self._obey(codes, at)

    def _obey(self, codes: list[int], at: int) -> int:
        """Follow the code at a place; return how many places it takes."""
        code = codes[at]
        match code:
            case 0:
                self.colour, self.bold, self.italic, self.underlined = None, False, False, False
            case 1 | 22:
                self.bold = code == 1
            case 3 | 23:
                self.italic = code == 3
            case 4 | 24:
                self.underlined = code == 4
            case 39:
                self.colour = None
            case 38 | 48:
                return self._extended(codes[at : at + 5])
            case _ if 30 <= code <= 37:
                self.colour = code - 30
            case _ if 90 <= code <= 97:
                self.colour = code - 90 + _BRIGHT
        return 1

    def _extended(self, codes: list[int]) -> int:
        if len(codes) > 2 and codes[1] == 5:
            if codes[0] == 38:
                self.colour = codes[2] if codes[2] < 2 * _BRIGHT else None
            return 3
        return 5 if len(codes) > 1 and codes[1] == 2 else 2


def spans(text: str, style: Style) -> Iterator[Span]:
    """Split text into spans; `style` is the style at its beginning, and at its end."""
    at = 0
    for found in _SEQUENCE.finditer(text):
        if shown := _visible(text[at : found.start()]):
            yield Span(style.classes(), shown)
        if found[2] == "m":
            style.obey(found[1])
        at = found.end()
    if shown := _visible(text[at:]):
        yield Span(style.classes(), shown)


def plain(text: str) -> str:
    """Return text without sequences, in which control characters are escapes."""
    return _visible(_SEQUENCE.sub("", text))


def _visible(text: str) -> str:
    """Show whatever is not printable as an escape; each kind of line break is a line feed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(
        line if line.replace("\t", "").isprintable() else "".join(map(_shown, line))
        for line in text.split("\n")
    )


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t" or category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


def whole(data: bytes) -> int:
    """Return how many bytes end with no half of a character, a sequence or a line break."""
    end = len(data) - _half_character(data)
    oldest = max(0, end - _MOST_UNENDED)
    last = data.rfind(b"\x1b", oldest, end)
    if last >= 0 and _UNENDED.match(data, last, end):
        # It may be the first half of what ends a string, which began before it.
        opened = data.rfind(b"\x1b", oldest, last)
        return opened if opened >= 0 and _UNENDED.match(data, opened, end) else last
    return end - 1 if data[:end].endswith(b"\r") else end


def _half_character(data: bytes) -> int:
    """Return the number of bytes at the end that begin a character of UTF-8 and do not end it."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
    return 0
