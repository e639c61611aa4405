"""Admission: from a message or a proposal to an operation and its decision. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agency.control.execution.classify import Disposition, Rules, Verdict, classify
from agency.control.execution.replies import Reply
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.parse import Command, CommandError, parse
from agency.control.grammar.printing import format_command
from agency.control.operation import Operation, Origin, State
from agency.control.operations.admitting.entries import (
    message_entry,
    operation_entry,
    sealed,
    sentence,
)
from agency.control.policy import Allow, Deny, Needs, Policy
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.inbox import StoredEvent

# The canonical text of a command may be longer than the text as typed: quotes are escaped.
_CANONICAL = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """Grammar of the commands that may be admitted, and the limits on them."""

    grammar: Grammar
    max_command_bytes: int
    approval_wait_s: float


@dataclass(frozen=True, slots=True)
class Settled:
    """End of a message or operation that does not run. Without `entry` it is not recorded.

    `reply` is None where nobody is answered; `operation`, if there is one, is in its final state;
    `code` is the reason, for a message that became no operation.
    """

    entry: AuditEntry | None = None
    reply: Reply | None = None
    operation: Operation | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An operation that was not refused.

    Its state is `proposed` (a look, which runs at once), `granted` or `waiting`.
    """

    operation: Operation
    command: Command


def admit_event(
    stored: StoredEvent, rules: Rules, bounds: Bounds, now_ms: int
) -> Settled | Admitted:
    """Admit the command in a message, or settle the message without running it."""
    event = stored.event
    origin = Origin.of_event(event)
    verdict = classify(event, rules, now_ms)
    match verdict.disposition:
        case Disposition.SILENT:
            return Settled()
        case Disposition.IGNORE | Disposition.REFUSE as disposition:
            detail = _about(stored, rules.command_text(event), verdict, bounds)
            ignored = disposition is Disposition.IGNORE
            outcome = Outcome.IGNORED if ignored else Outcome.REFUSED
            entry = message_entry(stored.trace, event.sender, origin, outcome, detail)
            return Settled(entry, None if ignored else _no(verdict.message), code=verdict.code)
        case Disposition.RUN:
            pass
    try:
        text = rules.command_text(event)
        command = parse(bounds.grammar, text, max_bytes=bounds.max_command_bytes)
    except CommandError as error:
        why = {"code": "not-understood", "reason": str(error.reason), **sealed(event.text)}
        entry = message_entry(stored.trace, event.sender, origin, Outcome.REFUSED, why)
        return Settled(entry, Reply(False, sentence(error), error.pointer()))
    if event.msgtype == "m.file" and not command.spec.takes_document:
        why = {"code": "not-text", "room": event.room_id, "said": format_command(command)}
        entry = message_entry(stored.trace, event.sender, origin, Outcome.REFUSED, why)
        return Settled(entry, _no(f"{command.name} takes no file, so nothing was done."))
    origin = origin.restated(event, text, format_command(command))
    elsewhere = rules.refusal_in(event.room_id, command.spec.noun)
    if elsewhere is not None:
        why = {"code": "approvals-room", "room": event.room_id, "said": format_command(command)}
        entry = message_entry(stored.trace, event.sender, origin, Outcome.REFUSED, why)
        return Settled(entry, _no(elsewhere), code="approvals-room")
    operation = propose(command, origin, event.sender, stored.trace, rules.max_age_s, now_ms)
    return admit(operation, command, rules.policy, bounds, now_ms)


def propose(
    command: Command, origin: Origin, actor: str, trace: str, max_age_s: float, now_ms: int
) -> Operation:
    """Make the operation for a command; its deadline is `max_age_s` after the command was sent."""
    return Operation(
        origin=origin,
        actor=actor,
        action=command.name,
        said=format_command(command),
        target=target_of(command),
        trace=trace,
        created_ts=now_ms,
        deadline_ts=origin.ts + int(max_age_s * 1000),
    )


def admit(
    operation: Operation, command: Command, policy: Policy, bounds: Bounds, now_ms: int
) -> Settled | Admitted:
    """Apply the policy to a proposed operation."""
    match policy.decide(operation.actor, command.spec, operation.target):
        case Deny(code=code, message=message):
            return refuse(operation, code, message)
        case Needs(rule=rule):
            deadline_ts = now_ms + int(bounds.approval_wait_s * 1000)
            waiting = replace(operation, state=State.WAITING, rule=rule, deadline_ts=deadline_ts)
            return Admitted(waiting, command)
        case Allow():
            state = State.GRANTED if command.spec.changes else State.PROPOSED
            return Admitted(replace(operation, state=state), command)


def recheck(operation: Operation, command: Command, policy: Policy) -> Settled | None:
    """Refuse an admitted operation that the present policy does not admit; None if it may begin.

    It may have waited across a restart, and the operators may be others since.
    """
    match policy.decide(operation.actor, command.spec, operation.target):
        case Deny(code=code, message=message):
            return refuse(operation, code, message)
        case Needs(rule=rule) if rule != operation.rule:
            text = f"This needs an approval by now, by the rule {rule}, so it was not run."
            return refuse(operation, "needs-approval", text)
        case _:
            return None


def refuse(operation: Operation, code: str, message: str) -> Settled:
    """Refuse an operation that has not begun."""
    entry = operation_entry(operation, Outcome.REFUSED, {"code": code})
    return Settled(entry, _no(message), replace(operation, state=State.REFUSED))


def reread(operation: Operation, bounds: Bounds) -> Command | None:
    """Parse the command of a stored operation; None if this version does not know it."""
    try:
        return parse(
            bounds.grammar, operation.said, max_bytes=_CANONICAL * bounds.max_command_bytes
        )
    except CommandError:
        return None


def refuse_unknown(operation: Operation) -> Settled:
    """Refuse an operation whose command `reread` does not know."""
    text = "This version of the agency does not know this command, so it was not run."
    return refuse(operation, "not-understood", text)


def target_of(command: Command) -> str:
    """Return the name of the command's target, after its kind if that is no agent; else empty."""
    name, kind = command.target or "", command.spec.target_kind
    return f"{kind} {name}" if name and kind else name


def described(text: str, bounds: Bounds) -> dict[str, object]:
    """Describe a message for the audit log: its command, or the digest of its text."""
    try:
        command = parse(bounds.grammar, text, max_bytes=bounds.max_command_bytes)
    except CommandError:
        return sealed(text)
    return {"said": format_command(command)}


def _no(message: str) -> Reply:
    return Reply(False, message)


def _about(stored: StoredEvent, text: str, verdict: Verdict, bounds: Bounds) -> dict[str, object]:
    """Make the audit detail of a message that is not run; `text` is its command's."""
    about = described(text, bounds)
    return {"code": verdict.code, "room": stored.event.room_id, **about}
