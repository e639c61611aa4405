"""Parser: from typed text to a `Command`, or to an error that points at the word.

Pure, and linear in the length of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from itertools import dropwhile, islice, takewhile
from typing import NoReturn

from agency.control.grammar.characters import first_problem, is_hidden
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError, Reason, shown
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.kinds import APPROVAL, OPERATION, Value, ValueProblemError
from agency.control.grammar.spec import PREFIX, PREFIXES, CommandSpec, Parameter
from agency.control.grammar.suggest import closest, closest_key, distance
from agency.control.grammar.typography import plain
from agency.control.grammar.words import Word, split

__all__ = ["MAX_BYTES", "Command", "CommandError", "looks_like_command", "parse"]

MAX_BYTES = 4096

_FIRST_WORD = 64  # characters of the first word that are compared
_SHORT = 8  # known first words up to this length may be misspelled by one edit only


def looks_like_command(grammar: Grammar, text: str) -> bool:
    """Return whether a message is meant as a command: its first word is known, or nearly.

    True for every text that `parse` accepts. A misspelling counts, so that its author gets an
    answer; so does a known word with invisible characters before or in it.
    """
    visible = (
        " " if each.isspace() else each for each in text if each.isspace() or not is_hidden(each)
    )
    rest = dropwhile(lambda each: each == " ", visible)
    first = "".join(takewhile(lambda each: each != " ", rest))
    if first in grammar.by_bare:
        second = "".join(islice(dropwhile(lambda each: each == " ", rest), len(APPROVAL)))
        return second.startswith((OPERATION, APPROVAL))
    return _near_first_word(grammar, first) is not None


def parse(grammar: Grammar, text: str, *, max_bytes: int = MAX_BYTES) -> Command:
    """Parse `text` into a command, in its plain spelling.

    Raises:
        CommandError: the text is not a command; the error has the plain text, the place in it and
            the reason. This is the only error raised.
    """
    _check_size(text, max_bytes)
    text = plain(text)
    _check_characters(text)
    words = split(text)
    if not words:
        raise CommandError(
            "there is no command", reason=Reason.EMPTY, text="", start=0, end=0, hint=_help_hint()
        )
    spec, rest = _find(grammar, text, words)
    return Command(spec, _Arguments(text, spec).read(rest))


def _check_size(text: str, max_bytes: int) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise CommandError(
            f"the command has {size} bytes, and may have {max_bytes}",
            reason=Reason.TOO_LONG,
            text="",
            start=0,
            end=0,
            hint="shorten it",
        )


def _check_characters(text: str) -> None:
    problem = first_problem(text)
    if problem is not None:
        raise CommandError(
            problem.message,
            reason=Reason.CHARACTER,
            text=text,
            start=problem.start,
            end=problem.end,
            hint=problem.hint,
        )


def _near_first_word(grammar: Grammar, word: str) -> str | None:
    """Find the known first word that `word` is, extends, reorders or misspells."""
    word = unicodedata.normalize("NFKC", word[:_FIRST_WORD]).casefold()
    if not word.startswith(("!", "/")):
        return None
    for known in grammar.first_words:
        if word.startswith(known) or _parts(word) == _parts(known):
            return known
    marked = f"!{word.lstrip('/')}"  # `//agency`: the client took the first of the slashes
    for known in grammar.first_words:
        if word.startswith("//") and marked.startswith(known):
            return known
        most = 1 if len(known) <= _SHORT else 2
        if distance(word, known, most) <= most:
            return known
    return None


def _parts(word: str) -> list[str]:
    return sorted(word.removeprefix("!").split("-"))


def _find(grammar: Grammar, text: str, words: list[Word]) -> tuple[CommandSpec, list[Word]]:
    """Find the command that the first words name; return it and the words after them."""
    first = words[0]
    bare = grammar.by_bare.get(text[first.start : first.end])
    if bare is not None and len(words) > 1 and words[1].value.startswith((OPERATION, APPROVAL)):
        return bare, words[1:]
    if text[first.start : first.end] not in grammar.first_words:  # quoted is unknown too
        _unknown(text, first, _near_first_word(grammar, first.value), _help_hint())
    if first.value not in PREFIXES:
        return grammar.by_alias[first.value], words[1:]
    if len(words) == 1:
        _missing_command(text, first, grammar.nouns)
    noun = words[1]
    if noun.value not in grammar.nouns:
        meant = closest(noun.value, grammar.nouns)
        meant = meant or closest_key(noun.value, grammar.instead_of_name)
        _unknown(text, noun, meant, f"the commands are: {', '.join(grammar.nouns)}")
    verbs = grammar.verbs_of(noun.value)
    if not verbs:
        return grammar.by_name[noun.value], words[2:]
    if len(words) == 2:
        _missing_command(text, noun, verbs)
    verb = words[2]
    if verb.value not in verbs:
        hint = f"after {noun.value} comes one of: {', '.join(verbs)}"
        _unknown(text, verb, closest(verb.value, verbs), hint)
    return grammar.by_name[f"{noun.value} {verb.value}"], words[3:]


def _help_hint() -> str:
    return f"say {PREFIX} help for all commands"


def _unknown(text: str, word: Word, meant: str | None, hint: str) -> NoReturn:
    raise CommandError(
        f"unknown command {shown(word.value)}",
        reason=Reason.UNKNOWN_COMMAND,
        text=text,
        start=word.start,
        end=word.end,
        suggestion=meant,
        hint=hint,
    )


def _missing_command(text: str, after: Word, choices: tuple[str, ...]) -> NoReturn:
    raise CommandError(
        f"a word is missing after {shown(after.value)}",
        reason=Reason.MISSING_COMMAND,
        text=text,
        start=after.end,
        end=after.end,
        hint=f"go on with one of: {', '.join(choices)}",
    )


class _Arguments:
    """Reader of a command's arguments from the words after its name."""

    def __init__(self, text: str, spec: CommandSpec) -> None:
        self._text = text
        self._spec = spec
        self._values: dict[str, Value] = {}

    def read(self, words: list[Word]) -> Mapping[str, Value]:
        plain = self._read_flags(words)
        self._read_positionals(plain)
        missing = next(
            (
                each
                for each in self._spec.parameters
                if each.required and each.name not in self._values
            ),
            None,
        )
        if missing is not None:
            end = len(self._text.rstrip(" "))
            self._fail(Reason.MISSING_ARGUMENT, f"{missing.usage} is missing", (end, end))
        return self._values

    def _read_flags(self, words: list[Word]) -> list[Word]:
        """Read the flags; returns the other words."""
        plain: list[Word] = []
        queue = iter(words)
        for word in queue:
            if not word.is_flag:
                plain.append(word)
            elif word.value == "--":
                plain.extend(queue)
            else:
                self._read_flag(word, queue)
        return plain

    def _read_flag(self, word: Word, queue: Iterator[Word]) -> None:
        name, equals, _ = word.value[2:].partition("=")
        length = 2 + len(name)
        flag = word.span(0, length)
        parameter = self._flag(name, flag)
        if name in self._values:
            self._fail(Reason.REPEATED_FLAG, f"--{name} is given twice", flag)
        if equals:
            self._take(parameter, word.value[length + 1 :], word.span(length + 1))
            return
        value = next(queue, None)
        if value is None or value.is_flag:
            self._fail(
                Reason.MISSING_VALUE,
                f"--{name} needs a value",
                flag,
                advice=f"write --{name}=VALUE, and put quotes around a value with spaces",
            )
        self._take(parameter, value.value, (value.start, value.end))

    def _flag(self, name: str, span: tuple[int, int]) -> Parameter:
        flags = {each.name: each for each in self._spec.flags}
        if name not in flags:
            near = closest(name, flags)
            self._fail(
                Reason.UNKNOWN_FLAG,
                f"{self._spec.name} has no flag {shown('--' + name)}",
                span,
                suggestion=None if near is None else f"--{near}",
            )
        return flags[name]

    def _read_positionals(self, words: list[Word]) -> None:
        queue = list(words)
        for parameter in self._spec.positionals:
            if not queue:
                return
            if parameter.kind.rest or parameter.kind.tail:  # takes all remaining words
                span = (queue[0].start, queue[-1].end)
                self._take(parameter, parameter.kind.joined(word.value for word in queue), span)
                return
            word = queue.pop(0)
            self._take(parameter, word.value, (word.start, word.end))
        if queue:
            self._too_many(queue[0])

    def _too_many(self, word: Word) -> NoReturn:
        quotes = any(each.kind.free for each in self._spec.parameters)
        self._fail(
            Reason.TOO_MANY_WORDS,
            f"{shown(word.value)} is one word too many",
            (word.start, word.end),
            advice="put quotes around a value with spaces" if quotes else "",
        )

    def _take(self, parameter: Parameter, value: str, span: tuple[int, int]) -> None:
        try:
            self._values[parameter.name] = parameter.read(value)
        except ValueProblemError as problem:
            raise CommandError(
                problem.message,
                reason=Reason.BAD_VALUE,
                text="" if problem.is_secret else self._text,
                start=0 if problem.is_secret else span[0],
                end=0 if problem.is_secret else span[1],
                suggestion=problem.suggestion,
                hint=problem.hint,
            ) from None

    def _fail(
        self,
        reason: Reason,
        message: str,
        span: tuple[int, int],
        *,
        advice: str = "",
        suggestion: str | None = None,
    ) -> NoReturn:
        usage = f"usage: {self._spec.usage}"
        raise CommandError(
            message,
            reason=reason,
            text=self._text,
            start=span[0],
            end=span[1],
            suggestion=suggestion,
            hint=f"{advice}; {usage}" if advice else usage,
        )
