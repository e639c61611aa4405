"""Operations that wait for the approval of other people, until a decision or their deadline.

            ┌─ grant (one of the quorum) ─┐
            ▼                             │
         waiting ──▶ grant (the last) ──▶ granted: the queue of its target
            ├──▶ deny, with a reason ──▶ refused
            ├──▶ withdraw, by who asked ──▶ withdrawn
            └──▶ its deadline ──▶ expired

A grant is bound to the digest of the operation: to who asked, the exact command, the rule, the
deadline, and what its target was to be then. When it begins, all of that must be as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.events import IncomingEvent, Reaction
from agency.control.execution.result import RefusalError
from agency.control.operation import Operation, State
from agency.control.operations.admitting.entries import operation_entry
from agency.control.operations.admitting.withdrawal import is_withdrawn
from agency.control.operations.approving.prompts import command_of, is_decisive, prompt_ids
from agency.control.policy import Asked, Deny, Policy, Role
from agency.control.store import audit, operations, outbox
from agency.control.store.audit import Outcome
from agency.store import Database

_MOST = 500  # operations that wait for an approval
TOO_MANY = (
    "Too many operations wait for an approval already; nothing was done. "
    "Send the command again when some of them are decided."
)


@dataclass(frozen=True, slots=True)
class Granted:
    """An operation after a grant: who approved it so far, and how many must."""

    operation: Operation
    by: tuple[str, ...]
    quorum: int

    @property
    def is_enough(self) -> bool:
        """Return whether it may run now."""
        return self.operation.state is State.GRANTED


@dataclass(slots=True)
class Approvals:
    """The operations that wait for an approval, by id. `policy` gives the present policy."""

    database: Database
    clock: Clock
    policy: Callable[[], Policy]
    most: int = _MOST
    waiting: dict[str, Operation] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Return whether no more operations may wait."""
        return len(self.waiting) >= self.most

    def add(self, operation: Operation) -> None:
        """Add an operation that is already stored as waiting."""
        self.waiting[operation.id] = operation

    def due(self) -> list[Operation]:
        """Remove and return the operations whose deadline has passed."""
        now = self.clock.now_ms()
        late = [each for each in self.waiting.values() if each.is_late(now)]
        for operation in late:
            del self.waiting[operation.id]
        return late

    def next_s(self) -> float | None:
        """Return the seconds until the next deadline; None if nothing waits."""
        if not self.waiting:
            return None
        first = min(each.deadline_ts for each in self.waiting.values())
        return max(0.0, (first - self.clock.now_ms()) / 1000)

    def find(self, beginning: str) -> Operation:
        """Find the waiting operation whose id begins so.

        Raises:
            RefusalError: none waits, or several begin so.
        """
        now = self.clock.now_ms()
        found = [
            each
            for each in self.waiting.values()
            if each.id.startswith(beginning) and not each.is_late(now)
        ]
        if not found:
            raise RefusalError(
                f"no operation {beginning} waits for an approval",
                hint="it was decided on already, or its deadline has passed",
            )
        if len(found) > 1:
            raise RefusalError(
                f"{len(found)} operations begin with {beginning}", hint="give more of the id"
            )
        return found[0]

    def judge(self, operation: Operation, by: str, confirmed: str | None = None) -> None:
        """Check that a person may approve an operation.

        Raises:
            RefusalError: they may not.
        """
        asked = Asked(operation.actor, operation.target, operation.action, operation.created_ts)
        now = self.clock.now_ms()
        decision = self.policy().decide_grant(by, asked, now_ms=now, confirmed=confirmed)
        if isinstance(decision, Deny):
            raise RefusalError(decision.message, where=decision.code)

    def may_deny(self, operation: Operation, by: str) -> None:
        """Check that a person may end an operation that waits.

        Raises:
            RefusalError: they are no approver, and did not ask for it either.
        """
        if by != operation.actor and not self.policy().people.may(by, Role.APPROVER):
            raise RefusalError(f"{by} may not deny: that takes an approver", where="not-permitted")

    async def grant(self, beginning: str, by: str, confirmed: str | None = None) -> Granted:
        """Approve an operation exactly as it is. The approval is used up when the operation begins.

        Raises:
            RefusalError: no such operation waits, its deadline passed, or `by` may not approve it.
        """
        operation = self.find(beginning)
        self.judge(operation, by, confirmed)
        rule = operation.rule or ""
        quorum, counted = self.policy().quorum(rule), self.policy().approvers(operation.actor)

        def change(connection: Connection) -> Granted:
            if is_withdrawn(connection, operation, None):
                raise RefusalError(f"the operation {operation.id} was withdrawn")
            now = self.clock.now_ms()
            known = operations.granted_by(connection, operation)
            if by not in known:
                operations.grant(connection, operation, by, now)
            names = tuple(dict.fromkeys(each for each in (*known, by) if each in counted))
            after = operation
            if len(names) >= quorum:
                after = replace(operation, state=State.GRANTED)
                operations.move(connection, operation, after, now)
            facts = {"operation": operation.id, "digest": operation.digest, "rule": rule}
            if by not in known or after is not operation:
                counts = {} if quorum == 1 else {"approvals": f"{len(names)} of {quorum}"}
                entry = operation_entry(operation, Outcome.GRANTED, {**facts, **counts}, by=by)
                audit.append(connection, self.clock, entry)
            return Granted(after, names, quorum)

        granted = await self.database.write(change)
        if granted.is_enough:
            self.waiting.pop(operation.id, None)
        return granted

    async def names(self, *waiting: Operation) -> list[tuple[str, ...]]:
        """Return who approved each of these operations so far."""

        def look(connection: Connection) -> list[tuple[str, ...]]:
            return [tuple(operations.granted_by(connection, each)) for each in waiting]

        return await self.database.read(look)


def meant_by(policy: Policy, connection: Connection, reaction: Reaction) -> IncomingEvent | None:
    """Return the command that a reaction stands for; None if it is none.

    Only a message that the bot itself sent, in that room, counts as a prompt.
    """
    if reaction.by not in policy.people.everybody or not is_decisive(reaction.key):
        return None
    operation = _prompted(connection, reaction)
    if operation is None:
        return None
    origin = operation.origin
    thread = origin.thread if origin.room_id == reaction.room_id else ""
    thread = thread or reaction.target
    return reaction.said(command_of(reaction.key, operation), thread)


def _prompted(connection: Connection, reaction: Reaction) -> Operation | None:
    """Find the waiting operation that a message of the bot asks people to decide on."""
    txn = outbox.transaction_of(connection, reaction.target, reaction.room_id)
    if txn is None:
        return None
    waiting, planned = operations.waiting(connection), outbox.planned_id(txn)
    return next((each for each in waiting if planned in prompt_ids(each)), None)
