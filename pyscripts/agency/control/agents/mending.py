"""Mender of agents: it asks for what the reconciler planned, in the queue of each agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.agents.planning import Plan, Verb
from agency.control.agents.seen import Seen
from agency.control.grammar.command import Command
from agency.control.grammar.grammar import Grammar
from agency.control.operations import Operations, Origin, OriginKind
from agency.control.policy import SYSTEM
from agency.errors import AgencyError

_log = logging.getLogger(__name__)

_NO_STORE = "the store does not answer"


@dataclass(slots=True)
class Mender:
    """Asker of operations, one at a time for each agent; `ended` is set at the end of each."""

    operations: Operations
    grammar: Grammar
    clock: Clock
    new_trace: Callable[[], str]
    ended: asyncio.Event
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _failures: dict[str, str] = field(default_factory=dict)
    _refusals: dict[str, str] = field(default_factory=dict)

    @property
    def active(self) -> int:
        """The number of agents that are being mended."""
        return len(self._tasks)

    def is_at(self, name: str) -> bool:
        """Return whether an agent is being mended."""
        return name in self._tasks

    def failure_of(self, name: str) -> str:
        """Return why the last try to run an agent failed; empty if it did not."""
        return self._failures.get(name, "")

    def refusal_of(self, name: str) -> str:
        """Return why the last try to give an agent its document failed; empty if it did not."""
        return self._refusals.get(name, "")

    def begin(self, seen: Seen, plan: Plan) -> None:
        """Ask for what mends an agent, and go on."""
        task = asyncio.create_task(self._mend(seen, plan), name=f"mending {seen.name}")
        self._tasks[seen.name] = task
        task.add_done_callback(lambda _ended: self._done(seen.name))

    async def settle(self) -> None:
        """Wait until what was begun is over."""
        while self._tasks:
            await asyncio.wait([*self._tasks.values()])
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Wait for no answer any more; the operations go on without it."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _done(self, name: str) -> None:
        self._tasks.pop(name, None)
        self.ended.set()

    async def _mend(self, seen: Seen, plan: Plan) -> None:
        """Ask, wait for the answer, and remember why it failed."""
        name, verb = seen.name, plan.heal
        if verb is None:
            return
        ok, text = await self._ask(seen, plan, verb)
        why = text.split("\n", 1)[0].removeprefix(f"{name} ").rstrip(".")  # part of a sentence
        failures = self._refusals if verb is Verb.PUSH else self._failures
        if ok:
            failures.pop(name, None)
        else:
            failures[name] = why

    async def _ask(self, seen: Seen, plan: Plan, verb: Verb) -> tuple[bool, str]:
        """Propose the operation; return whether it was done, and its answer."""
        history, trace = plan.history, plan.trace or self.new_trace()
        number = f"p{history.holding.pushes}" if verb is Verb.PUSH else f"{history.tries}"
        arguments: dict[str, str | int] = {"agent": seen.name}
        if verb is Verb.RESTART and seen.wish.project is not None:
            arguments["project"] = seen.wish.project
        command = Command(self.grammar.by_name[verb], arguments)
        origin = Origin(OriginKind.RECONCILE, f"{trace}/{number}", self.clock.now_ms())
        try:
            reply = await self.operations.ask(command, origin, SYSTEM, trace)
            ok, text = reply.ok, reply.text
        except (AgencyError, SQLAlchemyError) as error:
            ok, text = False, error.message if isinstance(error, AgencyError) else _NO_STORE
        fields: dict[str, object] = {"trace": trace, "agent": seen.name, "ok": ok}
        _log.info("tried to mend an agent: %s", text, extra={"fields": fields})
        return ok, text
