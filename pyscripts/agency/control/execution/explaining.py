"""Explanation of what the policy decides on a command that nobody gives. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.control.execution.result import RefusalError
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.parse import CommandError, parse
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import PREFIX, PREFIXES
from agency.control.policy import Allow, Deny, Needs, Policy, needed, people


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision in words: the answer, and the facts behind it."""

    answer: str
    facts: tuple[tuple[str, str], ...]
    detail: dict[str, object] = field(default_factory=dict)


def explain(policy: Policy, grammar: Grammar, person: str, text: str) -> Explanation:
    """Explain whether a person may give a command in the control room.

    Raises:
        RefusalError: the text is no command.
    """
    written = text if text.split(" ", 1)[0] in PREFIXES else f"{PREFIX} {text}"
    try:
        command = parse(grammar, written)
    except CommandError as error:
        raise RefusalError(error.message, hint=error.hint) from error
    target = command.target or ""
    decision = policy.decide(person, command.spec, target)
    held = ", ".join(sorted(policy.people.roles(person))) or "none"
    facts = [
        ("command", format_command(command)),
        ("roles", held),
        ("takes the role", str(needed(command.spec))),
    ]
    match decision:
        case Allow():
            answer, code = f"Yes: {person} may {command.name}.", "allowed"
        case Needs(rule=rule):
            quorum, who = policy.quorum(rule), sorted(policy.approvers(person))
            answer = f"Yes, once it is approved by {people(quorum)}: the rule {rule}."
            facts += [("rule", rule), ("may approve", ", ".join(who))]
            code = "needs-approval"
        case Deny(code=code, message=message):
            answer = f"No: {message}"
            facts.append(("refused as", code))
    detail: dict[str, object] = {"person": person, "command": command.name, "decision": code}
    return Explanation(answer, tuple(facts), detail)
