"""Execution of operations in their turn, and answers to those that a crash interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from agency.control.execution.classify import too_old
from agency.control.execution.replies import Reply
from agency.control.execution.result import Handler, Result
from agency.control.grammar.parse import Command
from agency.control.operation import Operation, Origin, OriginKind, State
from agency.control.operations.admitting import admission
from agency.control.operations.admitting.admission import Bounds, Settled
from agency.control.operations.admitting.entries import operation_entry, sentence, store_reason
from agency.control.operations.admitting.withdrawal import WITHDRAWN
from agency.control.operations.approving.plan import VoidGrantError
from agency.control.operations.running.execution import (
    INTERNAL,
    Progress,
    execute,
    fields_of,
    logged,
)
from agency.control.operations.running.interrupted import (
    ENDED,
    interrupted_text,
    standing,
    with_standing,
)
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.settlement import (
    Begun,
    Demand,
    NotWantedError,
    SafeModeError,
    Settlement,
    WithdrawnError,
)
from agency.control.operations.running.targets import Targets, seen_of
from agency.control.policy import SYSTEM, Policy
from agency.control.store.agents import Change, InventoryChange
from agency.control.store.audit import Outcome
from agency.control.wish import Wish
from agency.errors import AgencyError

_log = logging.getLogger(__name__)

_PUT_BACK = (
    "The clock was put back since this was asked, so it is not known how old it is, and it was not "
    "run. Send it again if it is still wanted."
)
_REMEDY_S = 600.0  # until a change that the control plane made itself expires
_STATES = {Outcome.DONE: State.DONE, Outcome.REFUSED: State.REFUSED}


@dataclass(slots=True)
class Changes:
    """Executor of operations.

    `policy` gives the present policy; `next_of` the change that waits next for a target's turn.
    `obstacle` is what keeps the bot from answering in a room. `attended` names the targets of
    interrupted changes, which were brought to their wish.
    """

    recorder: Recorder
    handler: Callable[[Command], Handler]
    targets: Targets
    bounds: Bounds
    policy: Callable[[], Policy]
    next_of: Callable[[str], Operation | None]
    obstacle: Callable[[str], Awaitable[str | None]]
    attended: set[str] = field(default_factory=set)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, operation: Operation) -> None:
        """Run, answer or expire an operation, by its state; its turn in the queue has come."""
        if self.recorder.is_stopping():
            return  # it stays in the store, for the next start
        try:
            with logged(operation):
                if operation.state is State.RUNNING:
                    await self._interrupted(operation)
                else:
                    await self._change(operation)
        except Exception:  # noqa: BLE001 - a defect met by one operation must not stop the others
            _log.exception("an operation could not be run", extra=fields_of(operation))
            self.recorder.answered(operation.id, Reply(False, INTERNAL))

    async def look(self, operation: Operation, command: Command, event: int | None) -> None:
        """Run a look, and store it with its result."""
        progress = Progress(self.recorder, operation)
        with logged(operation):
            result = await execute(self.handler, operation, command, progress)
            await self._record(operation, result, event=event)

    async def settle(self, settled: Settled, operation: Operation) -> None:
        """Record the end of an operation that did not begin."""
        after = settled.operation
        await self.recorder.settle(
            Settlement(
                origin=operation.origin,
                trace=operation.trace,
                entry=settled.entry,
                reply=settled.reply,
                operation=operation,
                state=State.REFUSED if after is None else after.state,
            )
        )

    async def expire(self, operation: Operation) -> None:
        """End an operation whose deadline passed before it began."""
        if operation.was_put_back(self.recorder.clock.now_ms()):
            code, text = "clock-put-back", _PUT_BACK
        elif operation.state is State.WAITING:
            code, text = "not-approved", "Nobody approved this in time, so it was not run."
        else:
            age_s = (self.recorder.clock.now_ms() - operation.origin.ts) / 1000
            most_s = (operation.deadline_ts - operation.origin.ts) / 1000
            code, text = "too-old", too_old(age_s, most_s)
        entry = operation_entry(operation, Outcome.EXPIRED, {"code": code})
        ended = replace(operation, state=State.EXPIRED)
        await self.settle(Settled(entry, Reply(False, text), ended), operation)

    async def _change(self, operation: Operation, told: Operation | None = None) -> Result | None:
        """Run a change; return its result, or None if it may not run.

        Its steps are those of `told`, if it mends what that one left.
        """
        if operation.is_late(self.recorder.clock.now_ms()):
            await self.expire(operation)
            return None
        command = admission.reread(operation, self.bounds)
        if command is None:
            await self.settle(admission.refuse_unknown(operation), operation)
            return None
        if await self._is_refused(operation, command):
            return None
        if not await self._answerable(operation) or self.recorder.is_stopping():
            return None
        if await self._is_refused(operation, command):  # it may have waited for the homeserver
            return None
        wish = await self._wish(command)
        begun = await self._begin(operation, wish)
        if begun is None:
            return None
        if not command.spec.alone:
            return await self._carry_out(command, begun, wish, told)
        async with self._alone:  # until its result is in the store, and in the inventory
            return await self._carry_out(command, begun, wish, told)

    async def _carry_out(
        self, command: Command, begun: Begun, wish: Wish | None, told: Operation | None
    ) -> Result:
        """Run a change that has begun, and record its result."""
        operation = running = begun.operation
        follows = told or running
        async with self.recorder.cards.showing(follows) as shown:
            progress = Progress(self.recorder, follows, shown)
            result = await execute(self.handler, running, command, progress)
        restored = None
        if operation.origin.kind is not OriginKind.RECONCILE and wish is not None:
            result = with_standing(operation.target, wish, result)
            # A refusal changes nothing, so the wish before it holds again.
            restored = begun.before if result.outcome is Outcome.REFUSED else None
        done = running if told else replace(running, replies=progress.count)
        await self._record(done, result, flush=True, wish=restored)
        return result

    async def _is_refused(self, operation: Operation, command: Command) -> bool:
        """Return whether the present policy does not admit an operation, and end it then."""
        refused = admission.recheck(operation, command, self.policy())
        if refused is not None:
            await self.settle(refused, operation)
        return refused is not None

    async def _wish(self, command: Command) -> Wish | None:
        """Return the wish that a command makes; None if its target cannot be observed."""
        try:
            return await self.targets.wish(command)
        except AgencyError as error:  # the handler meets it too, and reports it
            _log.warning("cannot observe a target: %s", error.message)
            return None

    async def _answerable(self, operation: Operation) -> bool:
        """Return whether the answer would be seen; a change that cannot be answered is ended.

        While the homeserver restarts that is not known: the change waits, until it is too old.
        """
        if operation.origin.kind is not OriginKind.MATRIX:
            return True
        left_s = (operation.deadline_ts - self.recorder.clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):
                why = await self.obstacle(operation.origin.room_id)
        except TimeoutError:
            await self.expire(operation)
            return False
        if why is not None:
            await self._unanswerable(operation, why)
        return why is None

    async def _unanswerable(self, operation: Operation, why: str) -> None:
        """Refuse a change whose answer nobody would see."""
        entry = operation_entry(operation, Outcome.REFUSED, {"code": "cannot-answer", "why": why})
        text = f"Nothing was done, because I cannot answer in this room: {why}."
        refused = replace(operation, state=State.REFUSED)
        await self.settle(Settled(entry, Reply(False, text), refused), operation)

    async def _record(
        self,
        operation: Operation,
        result: Result,
        *,
        event: int | None = None,
        flush: bool = False,
        wish: Wish | None = None,
    ) -> None:
        def settlement(result: Result) -> Settlement:
            made = settlement_of(operation, result, event=event, flush=flush)
            return replace(made, wish=wish)

        try:
            await self.recorder.settle(settlement(result))
        except Exception:  # noqa: BLE001 - record at least that it could not be stored
            _log.exception("a result could not be recorded", extra=fields_of(operation))
            failed = Result(INTERNAL, outcome=Outcome.FAILED, detail={"code": "internal"})
            await self.recorder.settle(settlement(failed))

    async def _begin(self, operation: Operation, wish: Wish | None) -> Begun | None:
        """Mark an operation as running before anything is done. None: it may not run."""
        failures = 0
        while True:
            try:
                policy, rule = self.policy(), operation.rule or ""
                demand = Demand(policy.approvers(operation.actor), policy.quorum(rule))
                return await self.recorder.begin(operation, wish, demand, again=failures > 0)
            except VoidGrantError as error:
                refused = admission.refuse(
                    operation, "grant-void", sentence(error, keep=operation.target)
                )
                await self.settle(refused, operation)
                return None
            except SafeModeError as error:
                await self.settle(
                    admission.refuse(operation, "safe-mode", error.message), operation
                )
                return None
            except WithdrawnError:
                self.recorder.answered(operation.id, WITHDRAWN)
                return None
            except NotWantedError as error:
                await self.settle(
                    admission.refuse(
                        operation, "not-wanted", sentence(error, keep=operation.target)
                    ),
                    operation,
                )
                return None
            except SQLAlchemyError as error:
                failures += 1
                _log.error("cannot begin: %s", store_reason(error), extra=fields_of(operation))
                if self.recorder.is_stopping():
                    return None
                await self.recorder.pause(self.recorder.backoff.delay_s(failures))
                if self.recorder.is_stopping():
                    return None

    async def _interrupted(self, operation: Operation) -> None:
        """Bring the target of an interrupted change to its wish, and answer with what is seen then.

        If a later change waits behind it, that one is left to decide, and the answer says so.
        """
        command = admission.reread(operation, self.bounds)
        text, seen = ENDED, ""
        if command is not None:
            waits = self.next_of(operation.target)
            tried = "" if waits is not None else await self._remedy(operation)
            seen = await seen_of(self.targets, command, operation.trace)
            text = interrupted_text(
                operation.target,
                asked=await self.targets.asked(command),
                wish=await self.targets.recorded(operation.target),
                seen=seen,
                remedy=tried,
                then="" if waits is None else waits.said,
            )
        entry = operation_entry(operation, Outcome.INTERRUPTED, {"seen": seen or None})
        failed = replace(operation, state=State.FAILED)
        await self.settle(Settled(entry, Reply(False, text), failed), operation)

    async def _remedy(self, operation: Operation) -> str:
        """Bring a target to its wish by an operation of the reconciler; return what that answers.

        Nothing is done for one of the reconciler's own: it acts again at the start.
        """
        if operation.origin.kind is OriginKind.RECONCILE:
            return ""
        target = operation.target
        try:
            command = await self.targets.remedy(target, operation.trace)
        except AgencyError as error:
            return sentence(error, keep=target)
        self.attended.add(target)
        if command is None:
            return ""
        made = await self._made(operation, command)
        kept = await self.recorder.keep(made)
        result = None if kept is None else await self._change(kept, operation)
        if result is None:
            return ""
        wish = await self.targets.recorded(target)
        if result.outcome is Outcome.FAILED and wish is not None:
            return f"{result.text} {standing(target, wish, acted=False)}"
        return result.text

    async def _made(self, operation: Operation, command: Command) -> Operation:
        """Make the reconciler's operation that follows an interrupted one; each has its own id."""
        now = self.recorder.clock.now_ms()
        number = 0
        while True:
            origin = Origin(OriginKind.RECONCILE, f"{operation.id}/{number}", now)
            made = admission.propose(command, origin, SYSTEM, operation.trace, _REMEDY_S, now)
            if not await self.recorder.is_stored(made):
                return replace(made, state=State.GRANTED)
            number += 1


def settlement_of(
    operation: Operation, result: Result, *, event: int | None = None, flush: bool = False
) -> Settlement:
    """Make the settlement of an operation from its result."""
    return Settlement(
        origin=operation.origin,
        trace=operation.trace,
        entry=operation_entry(operation, result.outcome, result.detail),
        reply=result.reply(),
        operation=operation,
        state=_STATES.get(result.outcome, State.FAILED),
        event=event,
        changes=_wanted(operation, result),
        stored=result.stored,
        flush=flush,
    )


def _wanted(operation: Operation, result: Result) -> tuple[Change, ...]:
    """Return the inventory changes to record; the reconciler never changes the desired state."""
    if operation.origin.kind is not OriginKind.RECONCILE:
        return result.changes
    return tuple(
        replace(change, desired=None) if isinstance(change, InventoryChange) else change
        for change in result.changes
    )
