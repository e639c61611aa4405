"""Dispatch: what was admitted runs, waits for its turn or for an approval; the rest is settled."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.events import IncomingEvent
from agency.control.execution.classify import LEAK, Rules
from agency.control.execution.replies import Reply
from agency.control.execution.result import RefusalError
from agency.control.grammar.parse import Command
from agency.control.operation import Operation, Origin, State
from agency.control.operations.admitting import admission
from agency.control.operations.admitting.admission import Admitted, Bounds, Settled
from agency.control.operations.admitting.entries import (
    bound,
    message_entry,
    operation_entry,
    sentence,
)
from agency.control.operations.approving.approvals import TOO_MANY, Approvals
from agency.control.operations.approving.prompts import Effect, prompt
from agency.control.operations.running.changes import Changes
from agency.control.operations.running.execution import INTERNAL, fields_of, logged
from agency.control.operations.running.queues import TargetQueues
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.settlement import Settlement
from agency.control.operations.running.targets import seen_of
from agency.control.store.audit import Outcome
from agency.control.store.inbox import StoredEvent
from agency.errors import AgencyError

_log = logging.getLogger(__name__)

TakeAway = Callable[[IncomingEvent], Awaitable[str]]


async def leave_it(_event: IncomingEvent) -> str:
    """Leave a message where it is: for operations without a homeserver behind them."""
    return "Delete it."


# Takes the document that a message goes with, and returns how the command names it.
HandIn = Callable[[IncomingEvent], Awaitable[str]]


async def take_none(_event: IncomingEvent) -> str:
    """Take no document: for operations without a homeserver behind them.

    Raises:
        RefusalError: always.
    """
    raise RefusalError("no document is taken from rooms here")


@dataclass(slots=True)
class Dispatcher:
    """Dispatcher of messages and proposals, one at a time, in order.

    `spawn` runs a look or a refusal in a task of its own; `rules` gives the present rules, and
    `asking_room` the approvals room, empty if there is none to ask in.
    `take_away` deletes a message that held a token, and says what became of that. `hand_in` takes
    the file that a message answers, where its command takes a document and names none.
    """

    recorder: Recorder
    clock: Clock
    rules: Callable[[], Rules]
    bounds: Bounds
    changes: Changes
    queues: TargetQueues
    approvals: Approvals
    spawn: Callable[[Coroutine[Any, Any, None], StoredEvent | None], None]
    asking_room: Callable[[], str]
    take_away: TakeAway
    hand_in: HandIn = take_none

    async def event(self, stored: StoredEvent) -> None:
        """Admit or settle a message."""
        admitted = self.judge(stored)
        if isinstance(admitted, Admitted):
            if takes_file(admitted.command, stored.event):
                self.spawn(self._with_file(stored), stored)
            else:
                await self._guarded(admitted, stored)
            return
        self.spawn(self._refuse(admitted, stored), stored)

    async def _refuse(self, settled: Settled, stored: StoredEvent) -> None:
        """Settle a message that does not run; one that held a token is deleted before."""
        if settled.code == LEAK and settled.reply is not None:
            done = await self.take_away(stored.event)
            settled = replace(settled, reply=Reply(False, f"{settled.reply.text} {done}"))
        origin = Origin.of_event(stored.event)
        await self.settle(settled, origin, stored.trace, stored.sequence)

    async def _with_file(self, stored: StoredEvent) -> None:
        """Take the document that a command goes with, and admit the command that names it."""
        event = stored.event
        try:
            named = await self.hand_in(event)
        except AgencyError as error:
            detail = {"code": "document-not-taken", "file": event.answers}
            origin = Origin.of_event(event)
            entry = message_entry(stored.trace, event.sender, origin, Outcome.REFUSED, detail)
            settled = Settled(entry, Reply(False, sentence(error)))
            await self.settle(settled, origin, stored.trace, stored.sequence)
            return
        await self.event(replace(stored, event=replace(event, text=f"{event.text} {named}")))

    def judge(self, stored: StoredEvent) -> Settled | Admitted:
        """Admit the command in a message; a defect met by one must not stop those behind it."""
        try:
            return admission.admit_event(stored, self.rules(), self.bounds, self.clock.now_ms())
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and on record
            facts = Origin.of_event(stored.event).facts
            _log.exception("an event could not be admitted", extra={"fields": facts})
            return failed(stored)

    async def proposed(self, operation: Operation) -> None:
        """Admit or settle a proposed operation."""
        command = admission.reread(operation, self.bounds)
        if command is None:
            self.spawn(self.changes.settle(admission.refuse_unknown(operation), operation), None)
            return
        try:
            now = self.clock.now_ms()
            admitted = admission.admit(operation, command, self.rules().policy, self.bounds, now)
        except Exception as error:  # noqa: BLE001 - it must not stop those behind it
            self._fail(operation, error, None)
            return
        if isinstance(admitted, Admitted):
            await self._guarded(admitted, None)
        else:
            self.spawn(self.changes.settle(admitted, operation), None)

    async def _guarded(self, admitted: Admitted, stored: StoredEvent | None) -> None:
        """Dispatch an admitted operation; a defect met by one must not stop those behind it."""
        try:
            await self._dispatch(admitted, stored)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and on record
            self._fail(admitted.operation, error, stored)

    def _fail(self, operation: Operation, error: Exception, stored: StoredEvent | None) -> None:
        """End an operation that met a defect before it began, and answer it."""
        _log.error("a command could not be dispatched", exc_info=error, extra=fields_of(operation))
        detail = {"code": "internal", "kind": type(error).__name__}
        entry = operation_entry(operation, Outcome.FAILED, detail)
        ended = replace(operation, state=State.FAILED)
        settled = Settled(entry, Reply(False, f"{INTERNAL} Nothing was done."), ended)
        before = replace(operation, state=State.PROPOSED)
        event = None if stored is None else stored.sequence
        work = self.settle(settled, operation.origin, operation.trace, event, before)
        self.spawn(work, stored)

    async def _dispatch(self, admitted: Admitted, stored: StoredEvent | None) -> None:
        """Run, store or queue an admitted operation, by its state."""
        operation = admitted.operation
        fields = {"state": str(operation.state), "origin": str(operation.origin.kind)}
        with logged(operation):
            _log.debug("admitted", extra={"fields": fields})
        event = None if stored is None else stored.sequence
        if operation.state is State.PROPOSED:
            self.spawn(self.changes.look(operation, admitted.command, event), stored)
        elif (full := self._refuse_if_full(operation)) is not None:
            before = replace(operation, state=State.PROPOSED)
            self.spawn(self.settle(full, operation.origin, operation.trace, event, before), stored)
        elif operation.state is State.WAITING:
            await self._wait(operation, admitted.command, event)
        else:
            kept = await self.recorder.keep(operation, event=event)
            if kept is not None:
                self.queues.put(kept)

    async def _wait(self, operation: Operation, command: Command, event: int | None) -> None:
        """Store an operation that needs approvals, and ask people for them."""
        try:
            plan = await self.recorder.plan_of(operation)
        except AgencyError as error:
            refused = self._not_planned(operation, error)
            before = replace(operation, state=State.PROPOSED)
            await self.settle(refused, operation.origin, operation.trace, event, before)
            return
        targets, policy = self.changes.targets, self.rules().policy
        effect = Effect(await targets.recorded(operation.target), await targets.asked(command))
        if plan is not None:
            operation = replace(operation, basis=plan.basis)
        elif operation.target:
            operation = replace(operation, basis=await self.recorder.basis(operation.target))
        alone = operation.actor in policy.approvers(operation.actor)
        seen = ""
        if command.spec.target_kind:  # nothing is wished of it, so its effect does not say it
            seen = await seen_of(targets, command, operation.trace)
        asking = self.asking_room()
        where = "the control room or the approvals room" if asking else "the control room"
        quorum = policy.quorum(operation.rule or "")
        notice = prompt(operation, quorum, effect, alone=alone, plan=plan, seen=seen, where=where)
        entry = operation_entry(
            operation, Outcome.WAITING, {"rule": operation.rule, **bound(operation)}
        )
        kept = await self.recorder.keep(
            operation, entry, event, notice, self.rules().room_id, asking
        )
        if kept is not None:
            self.approvals.add(kept)

    async def settle(
        self,
        settled: Settled,
        origin: Origin,
        trace: str,
        event: int | None,
        before: Operation | None = None,
    ) -> None:
        """Record the end of a message, or of its operation, that did not begin."""
        await self.recorder.settle(
            Settlement(
                origin,
                trace,
                settled.entry,
                settled.reply,
                before or settled.operation,
                State.REFUSED if settled.operation is None else settled.operation.state,
                event=event,
            )
        )

    def _not_planned(self, operation: Operation, error: AgencyError) -> Settled:
        """Refuse an operation that would do nothing or be refused: nobody is asked about it."""
        text = sentence(error, keep=operation.target)
        return admission.refuse(replace(operation, state=State.PROPOSED), "cannot-be-done", text)

    def _refuse_if_full(self, operation: Operation) -> Settled | None:
        before = replace(operation, state=State.PROPOSED)
        if operation.state is State.WAITING:
            if self.approvals.is_full:
                return admission.refuse(before, "too-many-waiting", TOO_MANY)
        elif self.queues.is_full(operation.target):
            return admission.refuse(before, "queue-full", full_text(operation))
        return None


def takes_file(command: Command, event: IncomingEvent) -> bool:
    """Return whether a command takes the file that its message answers: it says nothing else."""
    given = {name for name in command.arguments if name != command.spec.target}
    return command.spec.takes_document and bool(event.answers) and not given


def failed(stored: StoredEvent) -> Settled:
    """Make the end of a message that met a defect; its sender gets no answer."""
    event, code = stored.event, "internal"
    origin = Origin.of_event(event)
    entry = message_entry(stored.trace, event.sender, origin, Outcome.FAILED, {"code": code})
    return Settled(entry, code=code)


def full_text(operation: Operation) -> str:
    """Make the reply to a change whose target's queue is full."""
    return (
        f"Too many changes of {operation.target or 'this agency'} wait already; nothing was "
        "done. Send the command again when some of them are done."
    )
