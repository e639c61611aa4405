"""Execution of operations in their turn, and answers to those that a crash interrupted."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from agency.control.execution.classify import too_old
from agency.control.execution.replies import Reply
from agency.control.execution.result import Handler, Result
from agency.control.grammar.parse import Command
from agency.control.operation import Operation, OriginKind, State
from agency.control.operations import admission
from agency.control.operations.admission import Bounds, Settled
from agency.control.operations.entries import operation_entry, sentence, store_reason
from agency.control.operations.execution import INTERNAL, Progress, execute, fields_of
from agency.control.operations.recorder import (
    NotWantedError,
    Recorder,
    Settlement,
    VoidGrantError,
    WithdrawnError,
)
from agency.control.store.agents import InventoryChange
from agency.control.store.audit import Outcome
from agency.errors import AgencyError

_log = logging.getLogger(__name__)

_STATES = {Outcome.DONE: State.DONE, Outcome.REFUSED: State.REFUSED}


@dataclass(slots=True)
class Changes:
    """Executor of operations.

    `observe` describes the present state of a command's target; `obstacle` what keeps the bot from
    answering in a room.
    """

    recorder: Recorder
    handler: Callable[[Command], Handler]
    observe: Callable[[Command, str], Awaitable[str]]
    bounds: Bounds
    obstacle: Callable[[str], Awaitable[str | None]]

    async def run(self, operation: Operation) -> None:
        """Run, answer or expire an operation, by its state; its turn in the queue has come."""
        if self.recorder.is_stopping():
            return  # it stays in the store, for the next start
        try:
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
        if operation.state is State.WAITING:
            code, text = "not-approved", "Nobody approved this in time, so it was not run."
        else:
            age_s = (self.recorder.clock.now_ms() - operation.origin.ts) / 1000
            most_s = (operation.deadline_ts - operation.origin.ts) / 1000
            code, text = "too-old", too_old(age_s, most_s)
        entry = operation_entry(operation, Outcome.EXPIRED, {"code": code})
        ended = replace(operation, state=State.EXPIRED)
        await self.settle(Settled(entry, Reply(False, text), ended), operation)

    async def _change(self, operation: Operation) -> None:
        if self.recorder.clock.now_ms() > operation.deadline_ts:
            await self.expire(operation)
            return
        command = admission.reread(operation, self.bounds)
        if command is None:
            text = "This version of the agency does not know this command, so it was not run."
            await self.settle(admission.refuse(operation, "not-understood", text), operation)
            return
        if operation.origin.kind is OriginKind.MATRIX:
            why = await self.obstacle(operation.origin.room_id)
            if why is not None:
                await self._unanswerable(operation, why)
                return
        running = await self._begin(operation)
        if running is None:
            return
        progress = Progress(self.recorder, running)
        result = await execute(self.handler, running, command, progress)
        await self._record(replace(running, replies=progress.count), result, flush=True)

    async def _unanswerable(self, operation: Operation, why: str) -> None:
        """Refuse a change whose answer nobody would see."""
        entry = operation_entry(operation, Outcome.REFUSED, {"code": "cannot-answer", "why": why})
        text = f"Nothing was done, because I cannot answer in this room: {why}."
        refused = replace(operation, state=State.REFUSED)
        await self.settle(Settled(entry, Reply(False, text), refused), operation)

    async def _record(
        self, operation: Operation, result: Result, *, event: int | None = None, flush: bool = False
    ) -> None:
        try:
            await self.recorder.settle(settlement_of(operation, result, event=event, flush=flush))
        except Exception:  # noqa: BLE001 - record at least that it could not be stored
            _log.exception("a result could not be recorded", extra=fields_of(operation))
            failed = Result(INTERNAL, outcome=Outcome.FAILED, detail={"code": "internal"})
            await self.recorder.settle(settlement_of(operation, failed, event=event, flush=flush))

    async def _begin(self, operation: Operation) -> Operation | None:
        """Mark an operation as running before anything is done. None: it may not run."""
        failures = 0
        while True:
            try:
                return await self.recorder.begin(operation, again=failures > 0)
            except VoidGrantError as error:
                refused = admission.refuse(operation, "grant-void", sentence(error))
                await self.settle(refused, operation)
                return None
            except WithdrawnError:
                return None
            except NotWantedError as error:
                await self.settle(
                    admission.refuse(operation, "not-wanted", sentence(error)), operation
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
        """Answer an operation that a crash interrupted; the reply describes its target's state."""
        seen = ""
        command = admission.reread(operation, self.bounds)
        if command is not None:
            try:
                seen = await self.observe(command, operation.trace)
            except AgencyError as error:
                seen = error.message
        text = "The control plane ended while this command ran, and it was not run again."
        if seen:
            text += f" Seen now: {seen}."
        text += " Send it again if it is still wanted."
        entry = operation_entry(operation, Outcome.INTERRUPTED, {"seen": seen or None})
        failed = replace(operation, state=State.FAILED)
        await self.settle(Settled(entry, Reply(False, text), failed), operation)


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
        flush=flush,
    )


def _wanted(operation: Operation, result: Result) -> tuple[InventoryChange, ...]:
    """Return the inventory changes to record; the reconciler never changes the desired state."""
    if operation.origin.kind is not OriginKind.RECONCILE:
        return result.changes
    return tuple(replace(change, desired=None) for change in result.changes)
