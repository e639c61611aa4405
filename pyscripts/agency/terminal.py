"""Text of others as a terminal may be given it."""

from __future__ import annotations


def plain(text: str) -> str:
    """Make text safe for a terminal: characters that a terminal obeys or hides become escapes.

    Those are the control characters and what Unicode calls unprintable, such as ESC, BEL and the
    marks that turn the direction of writing; a line feed too.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain_lines(text: str) -> str:
    """Make text of several lines safe for a terminal; see `plain`."""
    return "\n".join(map(plain, text.split("\n")))
