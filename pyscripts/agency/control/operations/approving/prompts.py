"""Prompts: messages that ask people to decide on an operation, and say what it would do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agency.clock import iso
from agency.control.execution.replies import Reply
from agency.control.operation import Operation
from agency.control.operations.approving.plan import Plan
from agency.control.policy import confirmation, people
from agency.control.store.outbox import transaction_id
from agency.control.wish import Wish

YES, NO = "✅", "❌"
# The keys of reactions, without the variation selector that some clients append.
APPROVES = frozenset({YES, "👍", "✔"})
DENIES = frozenset({NO, "👎", "✖"})
# A reply has 4000 bytes of text; what cannot be shown is spelled out, and is longer then.
_MOST_BYTES = 3700
_MOST_SAID_BYTES = 1200
_SELECTOR = "\N{VARIATION SELECTOR-16}"


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of an operation: what its target is to be now, and would be to be then."""

    before: Wish | None
    after: Wish | None

    def sentence(self, target: str) -> str:
        """Say it; empty for a command without a target."""
        if not target or self.after is None:
            return ""
        if self.before is None:
            return f"{target} was never commanded; after it {target} is {self.after}."
        if self.before == self.after:
            return f"{target} is {self.before} already, and stays so."
        return f"{target} is {self.before} now; after it {target} is {self.after}."


def prompt(
    operation: Operation,
    quorum: int,
    effect: Effect,
    *,
    alone: bool = False,
    where: str = "the control room",
    seen: str = "",
    plan: Plan | None = None,
) -> Reply:
    """Make the message that asks for the approvals of an operation; `where` is where they count.

    `seen` describes its target as it is, where the effect does not; `plan` says what it would do,
    if that is more than a wish of its target. How to decide is never cut off: of a long command and
    a long plan the beginning is shown, and where the rest is.
    """
    short = operation.short
    until = iso(operation.deadline_ts / 1000)
    lines = [
        f"Operation {operation.id} needs an approval, by the rule {operation.rule}.",
        f"{operation.actor} asks: {_begun(operation)}",
        "" if plan is not None else effect.sentence(operation.target) or (seen and f"Now {seen}."),
    ]
    if alone:
        word = confirmation(operation.target, operation.action)
        lines.append(
            "Nobody else can approve it here. When the delay is over, say "
            f"!agency approvals approve {short} --confirm={word!r}, until {until}."
        )
    else:
        lines.append(
            f"It takes {people(quorum)} who did not ask for it, until {until}: say in {where} "
            f'"approve {short}" or "deny {short} and the reason", or react there with {YES} '
            f"or {NO} to this message."
        )
    if plan is not None:
        left = _MOST_BYTES - sum(len(line.encode()) + 1 for line in (*lines, plan.text))
        lines.insert(2, plan.shown(operation.short, left))
    return Reply(True, "\n".join(line for line in lines if line), final=False)


def prompt_ids(operation: Operation) -> tuple[str, str]:
    """Return the transaction ids of its prompts: where it was asked, and in the approvals room."""
    origin, index = operation.origin.id, operation.replies
    return transaction_id(origin, index), transaction_id(f"{origin}/approvals-room", index)


def _begun(operation: Operation) -> str:
    """Return the command, or the beginning of a long one and where the rest is."""
    said = operation.said.encode()
    if len(said) <= _MOST_SAID_BYTES:
        return operation.said
    beginning = said[:_MOST_SAID_BYTES].decode(errors="ignore")
    return f"{beginning}... (whole: !agency approvals show {operation.short})"


def is_decisive(key: str) -> bool:
    """Return whether a reaction approves or denies."""
    return key.removesuffix(_SELECTOR) in APPROVES | DENIES


def command_of(key: str, operation: Operation) -> str:
    """Return the command that a decisive reaction to a prompt stands for."""
    return command_for(key, operation.id)


def command_for(key: str, operation_id: str) -> str:
    """Return the command that a decisive reaction to the prompt of this id stands for."""
    plain = key.removesuffix(_SELECTOR)
    if plain in APPROVES:
        return f"!agency approvals approve {operation_id}"
    return f'!agency approvals deny {operation_id} "reacted with {plain}"'
