"""Kinds of arguments: they read a word, and complete the start of one.

A new kind is one class here; parser, printer, help and CLI use its methods.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from agency import naming
from agency.control.grammar.characters import describe, first_problem
from agency.control.grammar.errors import CommandError, shown
from agency.control.grammar.suggest import closest, closest_key
from agency.control.grammar.words import quoted, split
from agency.protocols import is_trace

Value = str | int

_DIGITS = re.compile(r"[0-9]{1,9}\Z")
_USER = re.compile(r"@[!-9;-~]{1,200}:[!-~]{1,54}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_SETTING = re.compile(r"[A-Za-z_/][A-Za-z0-9_./~+-]*=|\{")
_MOST_SETTINGS = 50
_SECRET = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_REASON = "reason="
_QUOTED = re.compile(r"""(["'])(.*?)\1(?: +|\Z)""")
_VARIABLE = re.compile(r"(?:(?<= )|\A)([a-z][A-Za-z0-9]{0,39})=")
OPERATION = "op-"  # an operation's id begins so
APPROVAL = "ask-"  # and so that of what an agent asks


class ValueProblemError(ValueError):
    """Error of a value that does not fit its parameter. `suggestion` is a value that does.

    `is_secret` says that the value must not be shown again.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        suggestion: str | None = None,
        is_secret: bool = False,
    ):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.suggestion = suggestion
        self.is_secret = is_secret


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a grammar, for kinds whose values are among them.

    `meanings` maps words that people type in place of a command's name to that name.
    """

    nouns: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict, hash=False)


class Named(Protocol):
    """The properties of a parameter that its kind uses."""

    @property
    def name(self) -> str:
        """The parameter's name."""

    @property
    def positional(self) -> bool:
        """True for a positional argument, false for a flag."""


class Kind(ABC):
    """A kind of argument."""

    type: ClassVar[type[str] | type[int]] = str
    rest: ClassVar[bool] = False  # takes all remaining words, without quotes
    free: ClassVar[bool] = False  # accepts any text, also with spaces
    tail: ClassVar[bool] = False  # takes all remaining words, and needs no quotes

    @abstractmethod
    def read(self, text: str, parameter: Named) -> Value:
        """Read the value of a parameter.

        Raises:
            ValueProblemError: the value is invalid.
        """

    def joined(self, words: Iterable[str]) -> str:
        """Make one text of several words, for a kind that takes all that remain."""
        return " ".join(words)

    def complete(self, begun: str) -> tuple[str, ...]:  # noqa: ARG002 - most kinds have no list
        """List the values that begin with `begun`; empty if the kind has no list of values."""
        return ()

    def within(self, words: Words) -> Kind:  # noqa: ARG002 - most kinds are the same in all
        """Return this kind for a grammar with these words."""
        return self

    @property
    def bound(self) -> str:
        """The kind's limit, if the summary of a parameter does not state it; else empty."""
        return ""


@dataclass(frozen=True, slots=True)
class AgentName(Kind):
    """The name of an agent."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "name"
        """Read an agent's name."""
        if naming.is_agent_name(text):
            return text
        folded = text.casefold().replace("_", "-")
        foreign = next((each for each in text if not each.isascii()), None)
        but = f", for it holds {describe(foreign)}" if foreign is not None else ""
        raise ValueProblemError(
            f"{shown(text)} cannot be an agent's name{but}",
            hint=naming.AGENT_NAME_HINT,
            suggestion=folded if naming.is_agent_name(folded) else None,
        )


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Any text that a reader of the room can see, of at most `most` characters."""

    free = True

    most: int = 200

    def read(self, text: str, parameter: Named) -> str:
        """Read a text."""
        problem = first_problem(text)
        if problem is not None:
            raise ValueProblemError(problem.message, hint=problem.hint)
        if not text.strip():
            raise ValueProblemError(
                f"{parameter.name} is empty", hint="leave it out, or give it a value"
            )
        if len(text) > self.most:
            raise ValueProblemError(
                f"{parameter.name} has {len(text)} characters, and may have {self.most}",
                hint="shorten it",
            )
        return text

    @property
    def bound(self) -> str:
        """The limit on the length."""
        return f"at most {self.most} characters"


@dataclass(frozen=True, slots=True)
class Reason(Text):
    """A reason, in any words; `reason=` before it is left out."""

    tail = True

    def read(self, text: str, parameter: Named) -> str:
        """Read a reason."""
        while text.startswith(_REASON):
            text = text.removeprefix(_REASON)
        return Text(self.most).read(text, parameter)


@dataclass(frozen=True, slots=True)
class Variables(Text):
    """Variables of a template: NAME=VALUE, one after another; a value may have spaces."""

    def read(self, text: str, parameter: Named) -> str:
        """Read variables."""
        checked = Text(self.most).read(text, parameter).strip()
        pairs = variables_of(checked)
        if pairs is None:
            raise ValueProblemError(
                f"{shown(checked)} is no variable", hint="write each as NAME=VALUE"
            )
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueProblemError(f"{twice} is given twice", hint="give it once")
        return checked


def variables_of(text: str) -> tuple[tuple[str, str], ...] | None:
    """Split variables into names and values; None if the text does not begin with a name.

    A value goes on to the next name, or to the end of its quotes.
    """
    found: list[tuple[str, str]] = []
    name = _VARIABLE.match(text)
    while name is not None:
        quoted_value = _QUOTED.match(text, name.end())
        if quoted_value is not None:
            found.append((name[1], quoted_value[2]))
            name = _VARIABLE.match(text, quoted_value.end())
            if name is None and quoted_value.end() < len(text):
                return None
            continue
        after = _VARIABLE.search(text, name.end())
        found.append((name[1], text[name.end() : after.start() if after else len(text)].strip()))
        name = after
    return tuple(found) or None


@dataclass(frozen=True, slots=True)
class Settings(Kind):
    """Any number of `NAME=VALUE`, each one word; or one JSON object. Kept as canonical words."""

    rest = True
    free = True

    def joined(self, words: Iterable[str]) -> str:
        """Keep the words apart."""
        return " ".join(map(quoted, words))

    def read(self, text: str, parameter: Named) -> str:
        """Read the settings."""
        problem = first_problem(text)
        if problem is not None:
            raise ValueProblemError(problem.message, hint=problem.hint)
        words = settings_of(text)
        wrong = next((each for each in words if not _SETTING.match(each)), None)
        if wrong is not None or not words:
            raise ValueProblemError(
                f"{shown(wrong or '')} is not NAME=VALUE",
                hint=f"write each of the {parameter.name} as NAME=VALUE, with quotes around one "
                "that has spaces",
            )
        if len(words) > _MOST_SETTINGS:
            raise ValueProblemError(f"there are more than {_MOST_SETTINGS} {parameter.name}")
        return self.joined(words)


def settings_of(text: str) -> tuple[str, ...]:
    """Return the words of settings.

    Raises:
        ValueProblemError: a quote is not closed.
    """
    try:
        return tuple(word.value for word in split(text))
    except CommandError as error:
        raise ValueProblemError(error.message, hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Digest(Kind):
    """The SHA-256 of a document that was handed in."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "digest"
        """Read a digest."""
        if _DIGEST.match(text):
            return text
        raise ValueProblemError(
            f"{shown(text)} is not the digest of a document",
            hint="write sha256: and 64 hexadecimal digits",
        )


@dataclass(frozen=True, slots=True)
class UserId(Kind):
    """A person, by full Matrix id."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "Matrix id"
        """Read a Matrix id."""
        if _USER.match(text):
            return text
        raise ValueProblemError(
            f"{shown(text)} is not a full Matrix id", hint="write it as @alice:agency.example.org"
        )


@dataclass(frozen=True, slots=True)
class SecretName(Kind):
    """The name of a secret of the vault."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "name"
        """Read a secret's name."""
        if _SECRET.match(text):
            return text
        folded = text.casefold().replace("_", "-").replace(".", "-")
        raise ValueProblemError(
            f"{shown(text)} cannot be a secret's name",
            hint="a name is 1 to 63 of a-z, 0-9 and inner dashes, and begins with a letter",
            suggestion=folded if _SECRET.match(folded) else None,
        )


@dataclass(frozen=True, slots=True)
class OneOf(Kind):
    """One word of a list."""

    words: tuple[str, ...]

    def read(self, text: str, parameter: Named) -> str:
        """Read a word."""
        if text in self.words:
            return text
        raise ValueProblemError(
            f"{shown(text)} is no {parameter.name}",
            hint=f"it is one of: {', '.join(self.words)}",
            suggestion=closest(text, self.words),
        )

    def complete(self, begun: str) -> tuple[str, ...]:
        """List the words that begin with `begun`."""
        return tuple(word for word in self.words if word.startswith(begun))

    @property
    def bound(self) -> str:
        """The list of words."""
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Count(Kind):
    """A whole number from 1 to `most`."""

    type = int

    most: int

    def read(self, text: str, parameter: Named) -> int:
        """Read a number."""
        number = int(text) if _DIGITS.match(text) else 0
        if 1 <= number <= self.most:
            return number
        what = parameter.name if parameter.positional else f"number of {parameter.name}"
        raise ValueProblemError(
            f"{shown(text)} is not a {what} from 1 to {self.most}",
            hint=f"give a whole number from 1 to {self.most}",
        )


@dataclass(frozen=True, slots=True)
class TraceId(Kind):
    """The trace id of a command."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "trace id"
        """Read a trace id."""
        if is_trace(text):
            return text
        raise ValueProblemError(
            f"{shown(text)} is not a trace id",
            hint="`audit tail` shows the trace ids of what was done last",
        )


@dataclass(frozen=True, slots=True)
class Topic(Kind):
    """A topic of `help`: a noun, a command's name or a short form."""

    rest = True

    words: Words = Words()

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "help"
        """Read a topic."""
        topic = " ".join(word for word in text.split(" ") if word)
        if topic in self.words.topics:
            return topic
        raise ValueProblemError(
            f"there is no help on {shown(topic)}",
            hint=f"the topics are: {', '.join(self.words.nouns)}",
            suggestion=closest(topic, self.words.topics) or closest_key(topic, self.words.meanings),
        )

    def complete(self, begun: str) -> tuple[str, ...]:
        """List the topics that begin with `begun`."""
        return tuple(topic for topic in self.words.topics if topic.startswith(begun))

    def within(self, words: Words) -> Topic:
        """Return the kind with the topics of this grammar."""
        return Topic(words)
