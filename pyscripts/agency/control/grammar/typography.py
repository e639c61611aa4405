"""Plain spelling of commands typed on phones, which turn quotes and hyphens into typography.

iOS and Android write a dash for `--` and curly quotes for straight ones while people type. Where
only one reading is left, that reading is taken; all else stays as it is, and the parser refuses it.
What stands in straight quotes is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

WHITE = " \t\r\n"  # may stand at both ends of a message; some clients add a line break

# Opening to closing marks, as languages pair them, and the straight quote that they stand for.
_CLOSING: Mapping[str, str] = {
    "\u201c": "\u201d",
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u2018": "\u2019",
    "\u2019": "\u2019",
    "\u201a": "\u2018\u2019",
}
_SINGLE = frozenset("\u2018\u2019\u201a")
_QUOTES = frozenset("\"'\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb")

_DASHES = re.compile(r"(?:[\u2013\u2014]|[\u2010\u2011]{2})(?=[a-z])")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])\u2019(?=[^\W\d_])")
_OPTION = re.compile(r"--[a-z][a-z-]*=")


def plain(text: str) -> str:
    """Return `text` in plain spelling where that is sure, with white space at its ends as spaces.

    Idempotent, linear in the length, and without effect on ASCII but for the ends. Places in a text
    without typography stay the same.
    """
    said = text.strip(WHITE)
    before = len(text) - len(text.lstrip(WHITE))
    text = " " * before + said + " " * (len(text) - before - len(said))
    if text.isascii():
        return text
    made: list[str] = []
    position = 0
    while position < len(text):
        read, word = _word(text, position)
        made.append(word)
        position = read
        while position < len(text) and text[position] == " ":
            made.append(" ")
            position += 1
    return "".join(made)


def _word(text: str, start: int) -> tuple[int, str]:
    """Read one word at `start`; returns the position after it, and its plain spelling."""
    dash = _DASHES.match(text, start)
    begin = start if dash is None else dash.end()
    made = "" if dash is None else "--"
    end = _end(text, begin)
    option = _OPTION.match(made + text[begin:end])
    opening = begin if option is None else begin + option.end() - len(made)
    quoted = _quoted(text, opening)
    if quoted is None:
        return end, made + text[begin:end]
    return quoted[0], made + text[begin:opening] + quoted[1]


def _end(text: str, start: int) -> int:
    """Return the end of the word at `start`: straight quotes keep spaces in it."""
    position, quote = start, ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\" and quote == '"':
                position += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == " ":
            break
        position += 1
    return min(position, len(text))


def _quoted(text: str, opening: int) -> tuple[int, str] | None:
    """Read a word in a pair of typographic quotes; None if it is not surely one.

    The pair must match, end the word, and hold no backslash and no other quote but an apostrophe
    inside a word.
    """
    closing = _CLOSING.get(text[opening : opening + 1])
    if closing is None:
        return None
    single = text[opening] in _SINGLE
    for position in range(opening + 1, len(text)):
        character = text[position]
        if character in closing and text[position + 1 : position + 2] in ("", " "):
            inner = text[opening + 1 : position]
            break
        if character == "\u2019" and not single and _APOSTROPHE.match(text, position):
            continue
        if character == "\\" or (character in _QUOTES and (character != "'" or single)):
            return None
    else:
        return None
    quote = "'" if single else '"'
    return position + 1, f"{quote}{_APOSTROPHE.sub(chr(39), inner)}{quote}"
