"""Recovery of the operations that an earlier run of the control plane left unfinished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agency.control.execution.replies import Reply
from agency.control.grammar.parse import CommandError, parse
from agency.control.operation import FINAL, Operation, Origin, State
from agency.control.operations.admitting import admission
from agency.control.operations.admitting.admission import Bounds
from agency.control.operations.admitting.entries import message_entry
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.settlement import Settlement
from agency.control.store import inbox, operations
from agency.control.store.audit import Outcome
from agency.control.store.inbox import InboxState, StoredEvent

_MOST = 1000  # versions without operations ran one event at a time: one is left, or none


async def recover(
    recorder: Recorder, bounds: Bounds, max_age_s: float
) -> Mapping[State, Sequence[Operation]]:
    """Return the operations that have not ended, oldest first, by state."""
    old = await recorder.database.read(
        lambda c: inbox.in_state(c, InboxState.RUNNING, after=0, most=_MOST)
    )
    for stored in old:
        await _adopt(stored, recorder, bounds, max_age_s)
    found = await recorder.database.read(operations.unfinished)
    return {
        state: [operation for operation in found if operation.state is state]
        for state in State
        if state not in FINAL
    }


async def _adopt(stored: StoredEvent, recorder: Recorder, bounds: Bounds, max_age_s: float) -> None:
    """Make an operation of an event that was running under a version without operations."""
    event, origin = stored.event, Origin.of_event(stored.event)
    try:
        command = parse(bounds.grammar, event.text, max_bytes=bounds.max_command_bytes)
    except CommandError:
        entry = message_entry(stored.trace, event.sender, origin, Outcome.INTERRUPTED, {})
        reply = Reply(
            False, "The control plane ended while this command ran, and it was not run again."
        )
        settlement = Settlement(origin, stored.trace, entry, reply, event=stored.sequence)
        await recorder.settle(settlement)
        return
    now = recorder.clock.now_ms()
    made = admission.propose(command, origin, event.sender, stored.trace, max_age_s, now)
    await recorder.keep(replace(made, state=State.RUNNING), event=stored.sequence)
