"""Operations that wait for the approval of another person, until a grant or their deadline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.execution.result import RefusalError
from agency.control.operation import Operation, State
from agency.control.operations.entries import operation_entry
from agency.control.operations.withdrawal import is_withdrawn
from agency.control.policy import Deny, Policy
from agency.control.store import audit, operations
from agency.control.store.audit import Outcome
from agency.store import Database

_MOST = 500  # operations that wait for an approval
TOO_MANY = (
    "Too many operations wait for an approval already; nothing was done. "
    "Send the command again when some of them are decided."
)


@dataclass(slots=True)
class Approvals:
    """The operations that wait for an approval, by id."""

    database: Database
    clock: Clock
    policy: Policy
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
        late = [each for each in self.waiting.values() if each.deadline_ts <= now]
        for operation in late:
            del self.waiting[operation.id]
        return late

    def next_s(self) -> float | None:
        """Return the seconds until the next deadline; None if nothing waits."""
        if not self.waiting:
            return None
        first = min(each.deadline_ts for each in self.waiting.values())
        return max(0.0, (first - self.clock.now_ms()) / 1000)

    async def grant(self, operation_id: str, by: str) -> Operation:
        """Approve an operation exactly as it is. The approval is used up when the operation begins.

        Raises:
            RefusalError: no such operation waits, its deadline passed, or `by` may not approve it.
        """
        operation = self.waiting.get(operation_id)
        if operation is None or operation.deadline_ts <= self.clock.now_ms():
            raise RefusalError(
                f"no operation {operation_id} waits for an approval",
                hint="it was approved already, or its deadline has passed",
            )
        decision = self.policy.decide_grant(by, operation.actor)
        if isinstance(decision, Deny):
            raise RefusalError(decision.message, where=decision.code)
        granted = replace(operation, state=State.GRANTED)
        facts = {"operation": operation.id, "digest": operation.digest, "rule": operation.rule}

        def change(connection: Connection) -> None:
            if is_withdrawn(connection, operation, None):
                raise RefusalError(f"the operation {operation_id} was withdrawn")
            now = self.clock.now_ms()
            operations.grant(connection, operation, by, now)
            operations.move(connection, operation, granted, now)
            entry = operation_entry(operation, Outcome.GRANTED, facts, by=by)
            audit.append(connection, self.clock, entry)

        await self.database.write(change)
        self.waiting.pop(operation_id, None)
        return granted
