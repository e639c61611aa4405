"""Decision on the call of a tool: a pure function of the document, the tool and its arguments.

for each capability that names the tool:
    a condition fails           ─▶ the rule is not about this call
    one cannot be decided       ─▶ deny   (its argument is missing, or has no one meaning)
    all hold                    ─▶ the rule's answer
the strictest of the answers: deny, ask, allow; none: deny
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agency.canonical import once_each
from agency.errors import UsageError
from agency.gosuto.constraints import Held
from agency.gosuto.model import Capability, Document
from agency.gosuto.values import TOOL

MAX_ARGUMENTS = 64 * 1024
_MISSING = object()


class Answer(StrEnum):
    """Answer to a call, from the strictest."""

    DENY = "deny"
    ASK = "ask"
    ALLOW = "allow"


_STRICTEST = tuple(Answer)
_ANSWERS: Mapping[str, Answer] = {str(each): each for each in Answer}


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that names the tool. `answer` is None if the rule is not about this call."""

    rule: str
    answer: Answer | None
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer to a call; `rule` is the capability that gives it, None if no rule is about it."""

    answer: Answer
    rule: str | None
    reason: str


def decide(document: Document, tool: str, args: Mapping[str, object]) -> Decision:
    """Decide on a call of `tool`, named `server/tool`."""
    if not TOOL.match(tool):
        return Decision(Answer.DENY, None, "this is no name of a tool: server/tool")
    found: dict[Answer, tuple[str, str]] = {}  # the first rule of each answer, and its reason
    about = _patterns(tool)
    for name, rule in document.capabilities.items():
        if rule.tool not in about:
            continue
        answer, reason = _judge(rule, args)
        if answer is not None and answer not in found:
            found[answer] = (name, reason)
            if answer is _STRICTEST[0]:
                break
    for each in _STRICTEST:
        if each in found:
            return Decision(each, *found[each])
    return Decision(Answer.DENY, None, "no rule allows it")


def may_be_called(document: Document, tool: str) -> bool:
    """Return whether any arguments could get `tool` another answer than deny."""
    about = [rule for _, rule in rules_about(document, tool)]
    refused = any(rule.answer == "deny" and not rule.arguments for rule in about)
    return bool(TOOL.match(tool)) and not refused and any(rule.answer != "deny" for rule in about)


def rules_about(document: Document, tool: str) -> tuple[tuple[str, Capability], ...]:
    """Return the rules that name a tool, in the order of the document."""
    about = _patterns(tool)
    return tuple((name, rule) for name, rule in document.capabilities.items() if rule.tool in about)


def findings(document: Document, tool: str, args: Mapping[str, object]) -> tuple[Finding, ...]:
    """Judge each rule that names the tool, in the order of the document."""
    return tuple(Finding(name, *_judge(rule, args)) for name, rule in rules_about(document, tool))


def read_arguments(text: str) -> dict[str, object]:
    """Read the arguments of a call: one JSON object, no key twice.

    Raises:
        UsageError: it is none.
    """
    hint = 'write them as a JSON object, such as {"url": "https://example.org/"}'
    if len(text) > MAX_ARGUMENTS:
        raise UsageError(f"the arguments have more than {MAX_ARGUMENTS} characters")
    try:
        found = json.loads(text, object_pairs_hook=once_each, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:100]
        raise UsageError(f"the arguments are not JSON: {why}", hint=hint) from None
    if not isinstance(found, dict):
        raise UsageError("the arguments are not a JSON object", hint=hint)
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def _patterns(tool: str) -> tuple[str, str, str]:
    """Return what a rule may say that is about `tool`: itself, all of its server, all."""
    server, slash, _ = tool.partition("/")
    return tool, f"{server}{slash}*", "*"


def _judge(rule: Capability, args: Mapping[str, object]) -> tuple[Answer | None, str]:
    """Judge a call by a rule that names its tool: the answer, if it has one, and why."""
    undecided = ""
    for argument, constraint in rule.arguments.items():
        plain = not argument.startswith("/")
        value = args.get(argument, _MISSING) if plain else _find(args, argument)
        if value is _MISSING:
            held, why = Held.UNDECIDED, "is missing"
        else:
            held, why = constraint.test(value)
        if held is Held.NO:
            return None, f"{argument} {why}"
        if held is Held.UNDECIDED:
            undecided = undecided or f"{argument} {why}"
    if undecided:
        return Answer.DENY, undecided
    reason = "every condition holds" if rule.arguments else f"it is about {rule.tool}"
    return _ANSWERS[rule.answer], reason


def _find(args: Mapping[str, object], argument: str) -> object:
    """Find an argument by a path of names and indexes such as /options/url."""
    here: object = args
    for part in argument[1:].split("/"):
        if isinstance(here, Mapping):
            here = here.get(part, _MISSING)
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            return _MISSING
    return here
