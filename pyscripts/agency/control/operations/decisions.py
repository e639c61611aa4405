"""Decisions of people on operations: to approve, to deny, to withdraw; each is on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.control.execution.replies import Reply
from agency.control.execution.result import RefusalError
from agency.control.operation import Operation, State
from agency.control.operations.admitting.admission import Settled
from agency.control.operations.admitting.entries import operation_entry
from agency.control.operations.admitting.withdrawal import withdraw
from agency.control.operations.approving.approvals import Approvals, Granted
from agency.control.operations.approving.plan import Plan
from agency.control.operations.proposals import Calls
from agency.control.operations.running.dispatch import full_text
from agency.control.operations.running.queues import TargetQueues
from agency.control.policy import Policy, Role
from agency.control.store import operations
from agency.control.store.audit import Outcome


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions that people may take on operations that have not begun.

    `settle` puts the end of one on record; `forget` gives up the place of one that was withdrawn,
    and answers who waits for it; `plan_of` says what one would do now.
    """

    approvals: Approvals
    queues: TargetQueues
    calls: Calls
    settle: Callable[[Settled, Operation], Awaitable[None]]
    forget: Callable[[Operation], None]
    plan_of: Callable[[Operation], Awaitable[Plan | None]]

    @property
    def policy(self) -> Policy:
        """The present policy."""
        return self.approvals.policy()

    @property
    def waiting(self) -> tuple[Operation, ...]:
        """The operations that wait for an approval, oldest first."""
        return tuple(self.approvals.waiting.values())

    def quorum(self, operation: Operation) -> int:
        """Return how many people must approve an operation."""
        return self.policy.quorum(operation.rule or "")

    def find(self, beginning: str) -> Operation:
        """Find the operation that waits and whose id begins so.

        Raises:
            RefusalError: none waits, or several begin so.
        """
        return self.approvals.find(beginning)

    async def approved_by(self, *waiting: Operation) -> list[tuple[str, ...]]:
        """Return who approved each of these operations so far."""
        return await self.approvals.names(*waiting)

    async def grant(self, beginning: str, by: str, confirmed: str | None = None) -> Granted:
        """Approve the waiting operation whose id begins so, exactly as it is.

        The last grant that its rule asks for queues it. `confirmed` is what the one person of an
        agency typed for it.

        Raises:
            RefusalError: no such operation waits, `by` may not approve it, or its target's queue
                is full.
        """
        waiting = self.approvals.find(beginning)
        if self.queues.is_full(waiting.target):
            raise RefusalError(full_text(waiting), hint="approve it when some of them are done")

        async def granted() -> Granted:
            found = await self.approvals.grant(waiting.id, by, confirmed)
            if found.is_enough:
                self.queues.put(found.operation)
            return found

        return await self.calls.whole(granted())

    async def deny(self, beginning: str, by: str, reason: str) -> Operation:
        """End a waiting operation, with a reason that its thread is told; return it.

        Raises:
            RefusalError: no such operation waits, or `by` may not decide on it.
        """
        operation = self.approvals.find(beginning)
        self.approvals.may_deny(operation, by)
        self.approvals.waiting.pop(operation.id)
        facts = {"code": "denied", "reason": reason, "rule": operation.rule}
        entry = operation_entry(operation, Outcome.REFUSED, facts, by=by)
        ended = replace(operation, state=State.REFUSED)
        reply = Reply(False, f"{by} denied this, so it was not run: {reason}")

        async def settled() -> None:
            await self.settle(Settled(entry, reply, ended), operation)

        await self.calls.whole(settled())
        return ended

    async def withdraw(self, beginning: str, by: str, limit: Role | None = None) -> Operation:
        """Take back an operation that has not begun; return it.

        `limit` is the most that the token of `by` gives, if one was used.

        Raises:
            RefusalError: there is none, it has begun, or it is neither `by`'s nor `by` an admin.
        """
        database = self.approvals.database
        found = await database.read(lambda c: operations.beginning_with(c, beginning, 2))
        if len(found) != 1:
            many = "several operations begin" if found else "no operation begins"
            raise RefusalError(f"{many} with {beginning}", hint="`approvals list` shows the ids")
        (operation,) = found
        if by != operation.actor and not self.policy.people.may(by, Role.ADMIN, limit):
            raise RefusalError(f"only {operation.actor} or an admin may withdraw {operation.id}")

        def change(connection: Connection) -> Operation | None:
            fresh = operations.recorded(connection, operation.id)
            return (
                None if fresh is None else withdraw(connection, self.approvals.clock, fresh[0], by)
            )

        async def withdrawn() -> Operation | None:
            ended = await database.write(change)
            if ended is not None:
                self.forget(ended)
            return ended

        ended = await self.calls.whole(withdrawn())
        if ended is None:
            raise RefusalError(f"{operation.id} has begun, and goes on")
        return ended
