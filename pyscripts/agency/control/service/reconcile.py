"""The reconciler at start: each agent is brought to the state that is wished of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.operations import Operations, Origin, OriginKind, Targets, standing
from agency.control.policy import SYSTEM
from agency.errors import AgencyError

_log = logging.getLogger(__name__)


async def reconcile(
    names: Iterable[str],
    targets: Targets,
    operations: Operations,
    clock: Clock,
    new_trace: Callable[[], str],
) -> None:
    """Start every agent that is to run and does not, and stop every one that is not to run.

    They are independent of one another, and each change is an operation. An agent that does not
    become healthy stays wanted, and agents/reconciler tries it again; the room is told. Changes
    that an earlier run left unfinished are answered first. In safe mode nothing else is done.
    """
    await asyncio.gather(*(_mend(name, targets, operations, clock, new_trace()) for name in names))


async def _mend(
    name: str, targets: Targets, operations: Operations, clock: Clock, trace: str
) -> None:
    fields: dict[str, object] = {"trace": trace, "agent": name}
    try:
        if await operations.attended(name):
            return
        if operations.rules.policy.safe_mode is not None:
            return  # agents/reconciler tells the room, and brings it back when that is over
        command = await targets.remedy(name, trace)
        if command is None:
            return
        origin = Origin(OriginKind.RECONCILE, trace, clock.now_ms())
        reply = await operations.ask(command, origin, SYSTEM, trace)
        ok, text = reply.ok, reply.text
    except AgencyError as error:
        _log.error("cannot bring an agent to its wish: %s", error, extra={"fields": fields})
        ok, text = False, f"{name} could not be looked after: {error.message}."
    fields["ok"] = ok
    _log.info("brought an agent to its wish: %s", text, extra={"fields": fields})
    if not ok:
        await _tell(name, text, targets, operations, trace)


async def _tell(name: str, text: str, targets: Targets, operations: Operations, trace: str) -> None:
    """Tell the room that an agent could not be brought to its wish, unless a command came first."""
    wish = await targets.recorded(name)
    if wish is None or await _is_as_wished(name, targets, trace):
        return
    fields: dict[str, object] = {"trace": trace, "agent": name}
    said = f"At the start of the control plane: {text} {standing(name, wish, acted=False)}"
    try:
        await operations.announce(said, trace)
    except SQLAlchemyError as error:
        _log.error("cannot tell the room: %s", type(error).__name__, extra={"fields": fields})


async def _is_as_wished(name: str, targets: Targets, trace: str) -> bool:
    try:
        return await targets.remedy(name, trace) is None
    except AgencyError:
        return False
