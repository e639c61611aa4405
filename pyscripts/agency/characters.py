"""Whole characters: a text of JSON may hold half of a surrogate pair, which is no character.

    "\\ud83d" + "\\ude00", as of a stream that was cut between them ─▶ one character
    one of them alone ─▶ U+FFFD

UTF-8 has no form for a half: what holds one goes neither into a database nor over a wire.
"""

from __future__ import annotations

import codecs
import re

# Of JSON's escapes: a pair, a half, any other.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def is_whole(text: str) -> bool:
    """Return whether a text holds no half, so that it has a form in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole_characters(text: str) -> str:
    """Join the pairs of a text, and replace single halves by U+FFFD."""
    if is_whole(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_escapes(json_text: str) -> str:
    """Do the same in a text of JSON, also where its escapes say halves; all else stays as it is."""
    return _ESCAPE.sub(
        lambda found: "\\ufffd" if found[1] else found[0], whole_characters(json_text)
    )


class Pieces:
    """Pieces of a text, each given on in whole characters; the first half of one waits."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def take(self, piece: str) -> str:
        """Take a piece; return what can be given on."""
        return self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"))
