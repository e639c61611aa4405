"""Splitter of text into words, with quotes; it records the position of every character."""

from __future__ import annotations

from dataclasses import dataclass

from agency.control.grammar.errors import CommandError, Reason, shown

_ESCAPABLE = '"\\'


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its value without quotes, its span in the text, and each character's position."""

    value: str
    start: int
    end: int
    places: tuple[int, ...]

    @property
    def is_flag(self) -> bool:
        """True if the word begins with `--` outside quotes."""
        return self.value.startswith("--") and self.places[1] == self.start + 1

    def span(self, first: int, last: int | None = None) -> tuple[int, int]:
        """Return the span of value[first:last] in the text; the whole word if that is empty."""
        places = self.places[first:last]
        return (places[0], places[-1] + 1) if places else (self.start, self.end)


def split(text: str) -> list[Word]:
    """Split `text` at spaces into words.

    In "..." a backslash escapes a double quote or a backslash; in '...' every character is
    literal. Outside quotes a backslash is literal.

    Raises:
        CommandError: a quote is not closed, or a backslash in "..." precedes another character.
    """
    words: list[Word] = []
    position = 0
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        word = _read_word(text, position)
        words.append(word)
        position = word.end
    return words


def _read_word(text: str, start: int) -> Word:
    places: list[int] = []
    position = start
    while position < len(text) and text[position] != " ":
        if text[position] in "\"'":
            position = _read_quoted(text, position, places)
        else:
            places.append(position)
            position += 1
    return Word("".join(text[place] for place in places), start, position, tuple(places))


def _read_quoted(text: str, opening: int, places: list[int]) -> int:
    """Append the places of a quoted part; returns the position after its closing quote."""
    quote = text[opening]
    position = opening + 1
    while position < len(text):
        character = text[position]
        if character == quote:
            return position + 1
        if character == "\\" and quote == '"':
            position = _read_escape(text, position)
        places.append(position)
        position += 1
    raise CommandError(
        f"the quote {quote} is not closed",
        reason=Reason.UNCLOSED_QUOTE,
        text=text,
        start=opening,
        end=opening + 1,
        hint=f"add a {quote} where the quoted part ends",
    )


def _read_escape(text: str, backslash: int) -> int:
    """Return the position of the character that a backslash escapes."""
    following = text[backslash + 1 : backslash + 2]
    if following and following not in _ESCAPABLE:
        raise CommandError(
            f'in double quotes, a backslash stands before " or \\, not before {shown(following)}',
            reason=Reason.UNKNOWN_ESCAPE,
            text=text,
            start=backslash,
            end=backslash + 2,
            hint="write \\\\ for a backslash, or use single quotes",
        )
    return backslash + 1


def quoted(value: str) -> str:
    """Write a value as one word, in quotes where it needs them."""
    if value and not value.startswith("--") and not any(each in " \"'" for each in value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
