"""The agents as targets of changes: wished, observed, and brought to what is wished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from agency.control.commands import GRAMMAR, wish_for
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.observation import Observation
from agency.control.grammar.command import Command
from agency.control.runtimes.base import State
from agency.control.store.agents import AgentRecord
from agency.control.wish import Desired, Wish, with_project


async def _have_none(_record: AgentRecord) -> bool:
    """Find nothing to dismiss: for agents without accounts."""
    return True


@dataclass(frozen=True, slots=True)
class AgentTargets:
    """Targets of changes that are agents; see operations.targets for each call.

    `others` describes targets of other kinds, which nothing is wished of; `is_dismissed` says
    whether a disabled agent's account is out of its rooms.
    """

    lifecycle: Lifecycle
    others: Mapping[str, Callable[[str], Awaitable[str]]] = field(default_factory=dict)
    is_dismissed: Callable[[AgentRecord], Awaitable[bool]] = _have_none

    async def wish(self, command: Command) -> Wish | None:
        """Return the wish that a command makes; None if it leaves that as it is."""
        make = wish_for(command)
        name = command.target
        if make is None or name is None or command.spec.target_kind:
            return None
        if name not in self.lifecycle.agents:
            return None
        runs = await self.lifecycle.is_running(name)
        wish = make(command, await self.recorded(name), runs)
        return None if self._is_refused(name, wish) else wish

    async def asked(self, command: Command) -> Wish | None:
        """Return what a command asks for, however its target is; None if it has none."""
        make = wish_for(command)
        if make is None or command.target is None or command.spec.target_kind:
            return None
        return make(command, await self.recorded(command.target), False)

    def _is_refused(self, name: str, wish: Wish | None) -> bool:
        """Return whether a wish is one that no command may have: what is declared stays."""
        deletes = wish is not None and wish.desired is Desired.DELETED
        return deletes and not self.lifecycle.is_created(name)

    async def recorded(self, target: str) -> Wish | None:
        """Return the wish on record; None if there is no such agent."""
        record = await self._record(target)
        return None if record is None else record.wish

    async def remedy(self, target: str, trace: str) -> Command | None:
        """Return the command that brings an agent to its wish; None if it is as wished."""
        record = await self._record(target)
        if record is None:
            return None
        seen = await self.lifecycle.observe(target, trace)
        return remedy_of(record, seen, dismissed=await self.is_dismissed(record))

    async def _record(self, target: str) -> AgentRecord | None:
        if target not in self.lifecycle.agents:
            return None
        return await self.lifecycle.record(target)

    async def observe(self, command: Command, trace: str) -> str:
        """Describe the present state of an agent; empty if the command names none."""
        name = command.target
        if name is None:
            return ""
        if kind := command.spec.target_kind:
            describe = self.others.get(kind)
            return "" if describe is None else await describe(name)
        seen = await self.lifecycle.observe(name, trace)
        text = f"{name} is {seen.status.state}"
        if seen.told is not None:
            return f"{text}, with {with_project(seen.told.project)}"
        return text if seen.problem is None else f"{text}, but does not answer"


def remedy_of(record: AgentRecord, seen: Observation, *, dismissed: bool = True) -> Command | None:
    """Return the command that brings an agent to its wish; None if it is as wished.

    An agent that was never commanded is left alone, and so is one that runs without answering:
    its project is not known. One that is disabled, and whose account is not dismissed, is disabled
    again, the whole of it: stopping it was the lesser part.
    """
    wish, runs = record.wish, seen.status.state is State.RUNNING
    arguments: dict[str, str | int] = {"agent": record.name}
    if wish.desired is Desired.DELETED:
        return Command(GRAMMAR.by_name["agents delete"], arguments)
    if wish.desired is Desired.DISABLED and not dismissed:
        return Command(GRAMMAR.by_name["agents disable"], arguments)
    if wish.is_down:
        if not runs or record.observed is None:
            return None
        return Command(GRAMMAR.by_name["agents stop"], arguments)
    if wish.project is not None:
        arguments["project"] = wish.project
    if not runs:
        return Command(GRAMMAR.by_name["agents start"], arguments)
    if seen.told is not None and seen.told.project != wish.project:
        return Command(GRAMMAR.by_name["agents restart"], arguments)
    return None
