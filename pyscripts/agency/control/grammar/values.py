"""What each kind of parameter takes."""

from __future__ import annotations

import re

from agency import naming
from agency.control.grammar.characters import describe, first_problem
from agency.control.grammar.errors import shown
from agency.control.grammar.spec import INSTEAD_OF_NAME, NOUNS, TOPICS, Kind, Parameter
from agency.control.grammar.suggest import closest, closest_key
from agency.protocols.acp import is_trace

_DIGITS = re.compile(r"[0-9]{1,9}\Z")


class ValueProblemError(ValueError):
    """A value does not fit its parameter. `suggestion` is a value that would."""

    def __init__(self, message: str, *, hint: str | None = None, suggestion: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.suggestion = suggestion


def read_value(parameter: Parameter, text: str) -> str | int:
    """The value that a word gives to a parameter.

    Raises:
        ValueProblemError: it does not fit.
    """
    match parameter.kind:
        case Kind.AGENT_NAME:
            return _agent_name(text)
        case Kind.TEXT:
            return _text(parameter, text)
        case Kind.COUNT:
            return _count(parameter, text)
        case Kind.TRACE_ID:
            return _trace_id(text)
        case Kind.TOPIC:
            return _topic(text)


def _agent_name(text: str) -> str:
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


def _text(parameter: Parameter, text: str) -> str:
    problem = first_problem(text)
    if problem is not None:
        raise ValueProblemError(problem.message, hint=problem.hint)
    if not text.strip():
        raise ValueProblemError(
            f"{parameter.name} is empty", hint="leave it out, or give it a value"
        )
    if len(text) > parameter.most:
        raise ValueProblemError(
            f"{parameter.name} has {len(text)} characters, and may have {parameter.most}",
            hint="shorten it",
        )
    return text


def _count(parameter: Parameter, text: str) -> int:
    number = int(text) if _DIGITS.match(text) else 0
    if 1 <= number <= parameter.most:
        return number
    what = parameter.name if parameter.positional else f"number of {parameter.name}"
    raise ValueProblemError(
        f"{shown(text)} is not a {what} from 1 to {parameter.most}",
        hint=f"give a whole number from 1 to {parameter.most}",
    )


def _trace_id(text: str) -> str:
    if is_trace(text):
        return text
    raise ValueProblemError(
        f"{shown(text)} is not a trace id",
        hint="a trace id stands in every reply and in the audit log",
    )


def _topic(text: str) -> str:
    topic = " ".join(word for word in text.split(" ") if word)
    if topic in TOPICS:
        return topic
    raise ValueProblemError(
        f"there is no help on {shown(topic)}",
        hint=f"the topics are: {', '.join(NOUNS)}",
        suggestion=closest(topic, TOPICS) or closest_key(topic, INSTEAD_OF_NAME),
    )
