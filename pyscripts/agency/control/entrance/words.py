"""Texts of commands made of the words of a shell or a list: the same for the CLI and for HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from agency.control.commands import GRAMMAR
from agency.control.grammar.kinds import APPROVAL, OPERATION
from agency.control.grammar.printing import quoted
from agency.control.grammar.spec import PREFIX


def text_of_argv(words: Sequence[str]) -> str:
    """Write words as a text that parses to the same words, whatever is in them."""
    text = " ".join(map(_written, words))
    return text if _begins(words) else f"{PREFIX} {text}"


def completed(text: str) -> str:
    """Complete a text as it is typed: its prefix may be left out."""
    return text if _begins(text.split(" ", 2)) else f"{PREFIX} {text}"


def _begins(words: Sequence[str]) -> bool:
    """Return whether a command begins with its first word: a prefix, or `approve op-...`."""
    if not words:
        return False
    waits = len(words) > 1 and words[1].startswith((OPERATION, APPROVAL))
    bare = waits and words[0] in GRAMMAR.by_bare
    return bare or words[0] in GRAMMAR.first_words


def _written(word: str) -> str:
    if not word.startswith("--"):
        return quoted(word)
    name, equals, value = word.partition("=")
    return f"{name}{equals}{quoted(value)}" if equals else name
