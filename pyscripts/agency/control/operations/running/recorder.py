"""Recorder of what became of a command: one transaction, retried until the store takes it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.cards import end_id
from agency.control.execution.replies import Reply, reply_message
from agency.control.operation import Operation, OriginKind, State
from agency.control.operations.admitting.entries import bound, operation_entry, store_reason
from agency.control.operations.admitting.withdrawal import is_withdrawn
from agency.control.operations.approving.asking import prompts, queue_prompts, queued_prompts
from agency.control.operations.approving.basis import basis_now
from agency.control.operations.approving.plan import (
    Plan,
    Planner,
    VoidGrantError,
    check_basis,
    plan_nothing,
)
from agency.control.operations.running.settlement import (
    Begun,
    Demand,
    NotWantedError,
    SafeModeError,
    Settlement,
    WithdrawnError,
    apply_changes,
    fields_of,
    is_in,
    is_settled,
    stored_answer,
)
from agency.control.operations.running.showing import Cards
from agency.control.operations.safety import on_record
from agency.control.policy import SYSTEM
from agency.control.store import agents, audit, inbox, operations, outbox
from agency.control.store.agents import Change
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.outbox import Lane, StoredMessage
from agency.control.wish import Wish
from agency.matrix import Backoff
from agency.store import Database

T = TypeVar("T")
_MAX_LAST = 20  # replies in the last lane that wait to be posted
_log = logging.getLogger(__name__)


def _nothing(_changes: Sequence[Change]) -> None:
    """Ignore changes of the inventory."""


@dataclass(slots=True)
class Recorder:
    """Writer of operations.

    It calls `applied` with changes of the inventory that are in the store, `say` for each queued
    reply, `shown` before and `answered` at every end, and `told` for each report on an operation
    that came from no room. `cards` has the status cards that end with their operations. `ended`
    counts what ended since the start, by action.
    """

    database: Database
    clock: Clock
    as_user: str
    say: Callable[[StoredMessage], None]
    backoff: Backoff
    pause: Callable[[float], Awaitable[None]]
    is_stopping: Callable[[], bool]
    answered: Callable[[str, Reply], None]
    told: Callable[[str, str], None]
    cards: Cards
    applied: Callable[[Sequence[Change]], None] = _nothing
    shown: Callable[[str, Reply], None] = lambda _operation, _reply: None
    ended: Counter[tuple[str, State]] = field(default_factory=Counter)
    plan: Planner = plan_nothing

    async def keep(
        self,
        operation: Operation,
        entry: AuditEntry | None = None,
        event: int | None = None,
        notice: Reply | None = None,
        room_id: str = "",
        approvals_room: str = "",
    ) -> Operation | None:
        """Store an operation in its present state, and mark its event as done.

        `notice` is told to whoever asked for it, and in the room `room_id` if they asked elsewhere;
        in `approvals_room`, if there is one, it asks whoever decides there.
        Returns None if its message was withdrawn meanwhile.

        Retries until the store takes it. Not flushed: if a power cut undoes it, the event is
        pending again.

        Raises:
            SQLAlchemyError: the store did not take it, and the control plane stops.
        """
        now = self.clock.now_ms()
        after = replace(operation, replies=operation.replies + (notice is not None))

        asked = (
            []
            if notice is None
            else prompts(
                after,
                notice,
                as_user=self.as_user,
                room_id=room_id,
                approvals_room=approvals_room,
            )
        )

        def change(connection: Connection, again: bool) -> tuple[bool, list[StoredMessage]]:
            if again and is_in(connection, operation, after.state):
                return True, queued_prompts(connection, after)
            if is_withdrawn(connection, operation, event):
                return False, []
            if operation.stored:
                operations.move(connection, replace(operation, state=State.PROPOSED), after, now)
            else:
                operations.add(connection, after, now)
            if entry is not None:
                audit.append(connection, self.clock, entry)
            if event is not None:
                inbox.set_done(connection, event)
            if notice is not None and operation.origin.kind is not OriginKind.MATRIX:
                operations.report(connection, after, after.replies, notice.text, now)
            return True, queue_prompts(connection, asked, now)

        kept, queued = await self._insist(change, "cannot store an operation", {}, flush=False)
        for message in queued:
            self.say(message)
        if kept and notice is not None:
            self._tell(operation, notice.text)
        return replace(after, stored=True) if kept else None

    async def begin(
        self,
        operation: Operation,
        wish: Wish | None = None,
        demand: Demand | None = None,
        *,
        again: bool = False,
    ) -> Begun:
        """Mark an operation as running, with its audit row, and use up its approvals.

        The wish of a person is on record from now on; the reconciler's must be there already.
        Only grants that `demand` counts are used up: who is no operator any more approves nothing.
        `again` says that an earlier call failed, and may have been committed all the same.

        Raises:
            VoidGrantError: the stored operation differs, its target is to be something else by now,
                or too few approvals of it are left.
            WithdrawnError: it was withdrawn.
            NotWantedError: the reconciler asked for it, and something else is wished by now.
            SafeModeError: a person asked for it, and safe mode is on by now.
        """
        running = replace(operation, state=State.RUNNING)

        def change(connection: Connection) -> Wish | None:
            now = self.clock.now_ms()
            before = agents.wish_of(connection, operation.target)
            found = operations.recorded(connection, operation.id)
            if found is None or not found[0].digest == found[1] == operation.digest:
                raise VoidGrantError("the stored operation was changed after it was admitted")
            if found[0].state is State.WITHDRAWN:
                raise WithdrawnError("the command was withdrawn before it began")
            if again and found[0].state is State.RUNNING:
                return before
            mode = on_record(connection)
            if mode is not None and operation.actor != SYSTEM:
                raise SafeModeError(mode.refusal)
            if operation.rule is not None:
                _spend(connection, operation, demand or Demand(), now)
                check_basis(self.plan, connection, operation, before)
            if operation.origin.kind is OriginKind.RECONCILE:
                if wish is not None and before is not None and wish != before:
                    raise NotWantedError(f"{operation.target} is {before} by now")
            elif wish is not None:
                agents.set_wish(connection, operation.target, wish, now)
            operations.move(connection, operation, running, now)
            entry = operation_entry(operation, Outcome.ACCEPTED, bound(operation))
            audit.append(connection, self.clock, entry)
            return before

        return Begun(running, await self.database.write(change))

    async def plan_of(self, operation: Operation) -> Plan | None:
        """Plan an operation as things are now; None for one without a plan of its own.

        Raises:
            AgencyError: it would be refused.
        """
        return await self.database.read(lambda c: self.plan(c, operation))

    async def basis(self, target: str) -> str:
        """Return what an approval of a change of a target is planned on now."""
        return await self.database.read(lambda c: basis_now(c, target))

    async def is_stored(self, operation: Operation) -> bool:
        """Return whether an operation with that id is in the store."""
        found = await self.database.read(lambda c: operations.recorded(c, operation.id))
        return found is not None

    async def settle(self, settlement: Settlement) -> None:
        """Commit a settlement, retrying until the store takes it or the control plane stops.

        A server that is lost during a commit may have taken it; that is not recorded twice.
        """
        commit = partial(self._commit, settlement=settlement)
        about = fields_of(settlement)
        if settlement.operation is not None and settlement.reply is not None:
            self.shown(settlement.operation.id, settlement.reply)
        try:
            what = "cannot record a result"
            queued = await self._insist(commit, what, about, flush=settlement.flush)
        except SQLAlchemyError:
            return
        self.applied(settlement.changes)
        for message in queued:
            self.say(message)
        if settlement.operation is not None:
            self.ended[settlement.operation.action, settlement.state] += 1
        if settlement.operation is not None and settlement.reply is not None:
            self.answered(settlement.operation.id, settlement.reply)
        if queued:
            await asyncio.sleep(0)  # let the sender run first
        _log.info("settled", extra=about)

    async def settle_all(self, settlements: Sequence[Settlement]) -> None:
        """Commit refusals in one transaction, retrying until the store takes it.

        Raises:
            SQLAlchemyError: the store did not take it, and the control plane stops.
        """

        def commit(connection: Connection, again: bool) -> list[StoredMessage]:
            made = (self._commit(connection, again, settlement=each) for each in settlements)
            return [message for queued in made for message in queued]

        for message in await self._insist(commit, "cannot record refusals", {}, flush=False):
            self.say(message)

    async def progress(self, operation: Operation, text: str, index: int) -> None:
        """Keep the `index`-th step of an operation, and tell it to those who wait for its end.

        Those of a look are told alone: it may run again.
        """

        def change(connection: Connection) -> None:
            operations.set_replies(connection, operation.id, index)
            operations.report(connection, operation, index, text, self.clock.now_ms())

        if operation.stored:
            await self.database.write(change, flush=False)
        self._tell(operation, text)

    def _tell(self, operation: Operation, text: str) -> None:
        if operation.origin.kind is not OriginKind.MATRIX:
            self.told(operation.id, text)

    async def _insist(
        self,
        work: Callable[[Connection, bool], T],
        what: str,
        about: dict[str, dict[str, object]],
        *,
        flush: bool,
    ) -> T:
        """Write until the store takes it; raise its error when the control plane stops.

        `work` is told whether an earlier call failed, which may have been committed all the same.
        """
        failures = 0
        while True:
            try:
                attempt = partial(_attempt, work, failures > 0)
                return await self.database.write(attempt, flush=flush)
            except SQLAlchemyError as error:
                failures += 1
                _log.error("%s: %s", what, store_reason(error), extra=about)
                if self.is_stopping():
                    raise
                await self.pause(self.backoff.delay_s(failures))

    def _commit(
        self, connection: Connection, again: bool, *, settlement: Settlement
    ) -> list[StoredMessage]:
        if again and is_settled(connection, settlement):
            return self._queued(connection, settlement)
        if is_withdrawn(connection, settlement.operation, settlement.event):
            return []
        now = self.clock.now_ms()
        operation = settlement.operation
        apply_changes(connection, settlement, now)
        if operation is not None and settlement.wish is not None:
            agents.set_wish(connection, operation.target, settlement.wish, now)
        if operation is not None:
            ended = replace(operation, state=settlement.state)
            answer = stored_answer(settlement)
            if operation.stored:
                operations.move(connection, operation, ended, now, answer)
            else:
                operations.add(connection, ended, now, answer)
        if settlement.entry is not None:
            audit.append(connection, self.clock, settlement.entry)
        if settlement.event is not None:
            inbox.set_done(connection, settlement.event)
        if settlement.also:
            inbox.set_all_done(connection, settlement.also)
        card = None
        if operation is not None and settlement.entry is not None:
            card = self.cards.end(connection, operation, settlement.entry.outcome)
        reply = self._queue(connection, settlement)
        return [message for message in (card, reply) if message is not None]

    def _queue(self, connection: Connection, settlement: Settlement) -> StoredMessage | None:
        """Queue the reply if the command came from a room, and its lane is not full."""
        reply, origin, lane = settlement.reply, settlement.origin, settlement.lane
        if reply is None or origin.kind is not OriginKind.MATRIX:
            return None
        if lane is Lane.LAST and outbox.pending_in(connection, lane) >= _MAX_LAST:
            return None
        message = reply_message(reply, origin, as_user=self.as_user, trace=settlement.trace)
        return outbox.add(connection, replace(message, lane=lane), self.clock.now_ms())

    def _queued(self, connection: Connection, settlement: Settlement) -> list[StoredMessage]:
        """Return what was queued with a settlement, and not sent."""
        ids = [outbox.transaction_id(settlement.origin.id, 0)]
        if settlement.operation is not None:
            ids.insert(0, end_id(settlement.operation))
        found = (outbox.find_pending(connection, txn_id) for txn_id in ids)
        return [message for message in found if message is not None]


def _attempt(work: Callable[[Connection, bool], T], again: bool, connection: Connection) -> T:
    return work(connection, again)


def _spend(connection: Connection, operation: Operation, demand: Demand, now_ts: int) -> None:
    """Use up the approvals of an operation.

    Raises:
        VoidGrantError: there are too few.
    """
    spent = operations.spend(connection, operation, demand.approvers, now_ts)
    if spent < demand.quorum:
        some = f"only {spent} of the {demand.quorum} approvals of this operation hold"
        none = "there is no approval of this operation"
        raise VoidGrantError(f"{some if spent else none} as it is now")
