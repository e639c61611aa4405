"""Agents: started, stopped and observed, through a runtime and ACP.

Reports are observations: an agent is said to run only if its process runs *and* it answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from agency.control.config import AgentEntry, Limits
from agency.control.execution.observation import Observation, redacted, refuse_impostor
from agency.control.execution.redacting import redacts
from agency.control.execution.result import RefusalError, Result, Step, say_nothing
from agency.control.grammar.suggest import closest
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    Runtime,
    RuntimeStatus,
    StartRequest,
    State,
    Usage,
)
from agency.control.store.agents import AgentRecord, Deletion, Desired, InventoryChange
from agency.control.store.audit import Outcome
from agency.control.wish import with_project
from agency.errors import AgencyError
from agency.protocols import AgentStatus, Health, Status
from agency.secrets import Redactor, SecretValue

_log = logging.getLogger(__name__)
_TOGETHER = 16  # agents that are asked at one time


class Acp(Protocol):
    """The questions that the control plane asks a running agent."""

    async def wait_healthy(
        self,
        endpoint: Endpoint,
        trace: str,
        timeout: float,  # noqa: ASYNC109 - how long an agent may take to become healthy
        still_running: Callable[[], Awaitable[bool]],
    ) -> Health:
        """Wait until the agent says that it can take work."""

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        """Return the agent's own account of its state."""

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        """Return all that the agent says of itself: also its document and its secrets."""


async def _no_secrets(_agent: str) -> tuple[SecretValue, ...]:
    """Return no secrets: for agents without a vault."""
    return ()


@dataclass(slots=True)
class Lifecycle:
    """The agents of this instance. Its callers are operations: an agent has one change at a time.

    `secrets` are those of the control plane, `agent_secrets` finds those that an agent holds; no
    log that is shown may contain them.
    """

    agents: Mapping[str, AgentEntry]
    runtime: Runtime
    acp: Acp
    limits: Limits
    records: Callable[[], Awaitable[Mapping[str, AgentRecord]]]
    secrets: tuple[SecretValue, ...] = ()
    read: Callable[[Collection[str]], Awaitable[Mapping[str, AgentRecord]]] | None = None  # of few
    is_created: Callable[[str], bool] = lambda _name: False  # by a command
    agent_secrets: Callable[[str], Awaitable[tuple[SecretValue, ...]]] = _no_secrets

    def entry(self, name: str) -> AgentEntry:
        """Return the agent with that name.

        Raises:
            RefusalError: there is no such agent.
        """
        found = self.agents.get(name)
        if found is not None:
            return found
        near = closest(name, self.agents)
        known = f"the agents are: {', '.join(sorted(self.agents)) or 'none'}"
        hint = f"did you mean {near}? {known}" if near else known
        raise RefusalError(f"there is no agent {name}", hint=hint)

    @redacts
    async def start(
        self, name: str, project: str | None, trace: str, step: Step = say_nothing
    ) -> Result:
        """Start an agent and wait until it is healthy; a running agent is left alone.

        Without a project an agent that is to run, and does not, keeps the one on record.
        """
        entry = self.entry(name)
        await self._refuse_disabled(name)
        seen = await self.runtime.status(name)
        current = await self._project(name)
        if seen.state is not State.RUNNING:
            wanted = project if project is not None else current
            await step("starting its process")
            return await self._bring_up(entry, wanted, trace, self.runtime.start, step)
        if project is not None and project != current:
            raise RefusalError(
                f"{name} already runs with {with_project(current)}",
                hint=f"restart it: !agency agents restart {name} --project={project}",
            )
        return Result(
            f"{name} already runs, with {with_project(current)} ({seen.known_as}).",
            detail={**seen.handle_detail, "already": True},
            changes=(_change(seen, Desired.RUNNING, current),),
        )

    @redacts
    async def restart(
        self, name: str, project: str | None, trace: str, step: Step = say_nothing
    ) -> Result:
        """Stop an agent if it runs, and start it; without a project it keeps its present one."""
        entry = self.entry(name)
        await self._refuse_disabled(name)
        wanted = project if project is not None else await self._project(name)
        await step("stopping its process, and starting it again")
        return await self._bring_up(entry, wanted, trace, self.runtime.restart, step)

    @redacts
    async def stop(self, name: str) -> Result:
        """Stop an agent; it is no error if it does not run."""
        self.entry(name)
        before = await self.runtime.status(name)
        after = await self.runtime.stop(name)
        disabled = await self._is_disabled(name)
        changes = (_change(after, Desired.DISABLED if disabled else Desired.STOPPED, None),)
        if before.state is State.STOPPED:
            return Result(f"{name} was not running.", changes=changes)
        detail = {**before.handle_detail, "exit": after.exit_status}
        return Result(f"{name} is stopped.", detail=detail, changes=changes)

    @redacts
    async def disable(self, name: str) -> Result:
        """Stop an agent, which is not started again until it is enabled."""
        self.entry(name)
        after = await self.runtime.stop(name)
        return Result(
            f"{name} is stopped and disabled: nothing starts it until somebody says "
            f"!agency agents enable {name}.",
            changes=(_change(after, Desired.DISABLED, None),),
        )

    @redacts
    async def enable(self, name: str) -> Result:
        """Let an agent be started again; its wish is on record already."""
        self.entry(name)
        return Result(f"{name} is enabled. !agency agents start {name} starts it.")

    @redacts
    async def delete(self, name: str) -> Result:
        """Stop an agent that a command made, for good; its record and the audit log stay."""
        entry = self.entry(name)
        if not self.is_created(name):
            raise RefusalError(
                f"{name} is declared in instance.yaml, and no command made it",
                hint=f"take {name} out of `agents` there, render, and switch",
            )
        await self.runtime.remove(name)
        return Result(
            f"{name} is deleted. Its audit log and its record stay.",
            detail={"matrix_id": entry.matrix_id},
            changes=(Deletion(name),),
        )

    async def _is_disabled(self, name: str) -> bool:
        record = await self.record(name)
        return record is not None and record.desired in (Desired.DISABLED, Desired.DELETED)

    async def _refuse_disabled(self, name: str) -> None:
        if await self._is_disabled(name):
            raise RefusalError(
                f"{name} is disabled", hint=f"enable it first: !agency agents enable {name}"
            )

    @redacts
    async def is_running(self, name: str) -> bool:
        """Return whether an agent's runtime says that it runs."""
        return (await self.runtime.status(name)).state is State.RUNNING

    @redacts
    async def observe(self, name: str, trace: str) -> Observation:
        """Observe an agent: ask its runtime, and ask the agent itself."""
        entry = self.entry(name)
        redactor = self._redactor(*await self.agent_secrets(name))
        status = redacted(await self.runtime.status(name), redactor)
        endpoint = self.runtime.endpoint(name)
        if status.state is not State.RUNNING or endpoint is None:
            return Observation(entry, status)
        try:
            told = await self.acp.status(endpoint, trace)
            refuse_impostor(status, told.pid)
            return Observation(entry, status, told=told)
        except AgencyError as error:
            return Observation(entry, status, problem=self._redactor().redact(error.message))

    @redacts
    async def inspect(self, name: str, trace: str) -> Observation:
        """Observe an agent as `observe` does, and ask it for all that it says of itself."""
        return await self._surveyed(self.entry(name).name, trace, ask=True)

    @redacts
    async def usage(self, name: str) -> Usage:
        """Return the resources that an agent uses, as its runtime counts them."""
        return await self.runtime.usage(self.entry(name).name)

    @redacts
    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last lines of an agent's log, oldest first, without any known secret.

        Secrets are removed before anything is cut: a part of one would not be recognised.
        """
        tail = await self.runtime.log_tail(self.entry(name).name, lines)
        redactor = self._redactor(*await self.agent_secrets(name))
        return tuple(redactor.redact("\n".join(tail)).split("\n")) if tail else ()

    async def some_records(self, names: Collection[str]) -> Mapping[str, AgentRecord]:
        """Return the records of a few agents, by name."""
        return await (self.records() if self.read is None else self.read(names))

    @redacts
    async def observe_some(self, names: Collection[str]) -> list[tuple[AgentEntry, RuntimeStatus]]:
        """Ask the runtime for the status of a few agents, in this order.

        A runtime that does not answer hides its own agents alone.
        """
        redactor = self._redactor()
        return [(self.entry(name), redacted(await self._look(name), redactor)) for name in names]

    @redacts
    async def observe_all(self) -> list[tuple[AgentEntry, RuntimeStatus]]:
        """Ask the runtime for the status of every agent; by name."""
        return await self.observe_some(sorted(self.agents))

    async def survey(
        self, names: Collection[str], trace: str, *, asked: Collection[str]
    ) -> Mapping[str, Observation]:
        """Observe many agents: their runtime, and for a report those of `asked` that run, too.

        One that cannot be observed is logged, and is not in the result.
        """
        turns = asyncio.Semaphore(_TOGETHER)

        async def one(name: str) -> Observation | None:
            async with turns:
                try:
                    return await self._surveyed(name, trace, ask=name in asked)
                except AgencyError as error:
                    why = self._redactor().redact(error.message)
                    _log.warning("cannot observe %s: %s", name, why)
                except Exception as error:  # noqa: BLE001 - one agent's defect hides no other
                    _log.error("cannot observe %s: %s", name, type(error).__name__)
                return None

        found = await asyncio.gather(*(one(name) for name in names))
        return {seen.entry.name: seen for seen in found if seen is not None}

    async def _surveyed(self, name: str, trace: str, *, ask: bool) -> Observation:
        entry = self.entry(name)
        status = await self.runtime.status(name)
        if status.detail is not None:
            status = replace(status, detail=await self._tellable(name, status.detail))
        endpoint = self.runtime.endpoint(name) if ask else None
        if status.state is not State.RUNNING or endpoint is None:
            return Observation(entry, status)
        try:
            report = await self.acp.report(endpoint, trace)
            refuse_impostor(status, report.pid)
        except AgencyError as error:
            return Observation(entry, status, problem=await self._tellable(name, error.message))
        return Observation(entry, status, report=report)

    async def _tellable(self, name: str, reason: str) -> str:
        """Return a reason without a secret that its agent may have said: the room is told of it."""
        try:
            held = await self.agent_secrets(name)
        except AgencyError as error:  # an agent is looked after even if its secrets are not known
            _log.warning("cannot tell why %s fails: %s", name, error.message)
            return "why is not shown, because the vault cannot be read"
        return self._redactor(*held).redact(reason)

    async def record(self, name: str) -> AgentRecord | None:
        """Return an agent's record in the inventory; None if there is no such agent."""
        return (await self.some_records((name,))).get(name)

    async def _look(self, name: str) -> RuntimeStatus:
        try:
            return await self.runtime.status(name)
        except AgencyError as error:
            return RuntimeStatus(name, State.UNKNOWN, detail=error.message)

    def _redactor(self, *more: SecretValue) -> Redactor:
        """Make a redactor for every secret that the control plane and its agents hold now."""
        return Redactor([*self.secrets, *self.runtime.secrets(), *more])

    async def _project(self, name: str) -> str | None:
        record = await self.record(name)
        return record.project if record else None

    async def _bring_up(
        self,
        entry: AgentEntry,
        project: str | None,
        trace: str,
        begin: Callable[[StartRequest], Awaitable[RuntimeStatus]],
        step: Step,
    ) -> Result:
        request = StartRequest(entry.name, entry.role, project, trace)
        try:
            await begin(request)
            await step("waiting until it answers")
            told = await self._confirm(request)
            await step("it answers, and works on what it was given")
        except AgencyError as error:
            return await self._clean_up(entry.name, error)
        seen = await self.runtime.status(entry.name)
        return Result(
            f"{entry.name} runs, with {with_project(project)} ({seen.known_as}).",
            detail={**seen.handle_detail, "project": told.project, "version": told.version},
            changes=(_change(seen, Desired.RUNNING, project),),
        )

    async def _confirm(self, request: StartRequest) -> Status:
        """Wait until the agent is healthy, and check that it has its project."""
        endpoint = self.runtime.endpoint(request.name)
        if endpoint is None:
            raise AgentRuntimeError("it ended as soon as it was started")

        async def still_running() -> bool:
            return (await self.runtime.status(request.name)).state is State.RUNNING

        timeout_s = self.limits.agent_start_timeout_s
        await self.acp.wait_healthy(endpoint, request.trace, timeout_s, still_running)
        told = await self.acp.status(endpoint, request.trace)
        refuse_impostor(await self.runtime.status(request.name), told.pid)
        if told.project != request.project:
            raise AgentRuntimeError(
                f"it reports {with_project(told.project)}, not {with_project(request.project)}"
            )
        return told

    async def _clean_up(self, name: str, error: AgencyError) -> Result:
        """Stop an agent that did not start properly, and report the reason without secrets."""
        redactor = self._redactor()  # before the stop, which deletes the agent's token
        seen = redacted(await self.runtime.status(name), redactor)
        message = redactor.redact(error.message)
        reason = seen.detail if seen.state is State.FAILED and seen.detail else message
        after = await self.runtime.stop(name)
        text = f"{name} did not start: {reason}."
        if error.hint:
            text += f" ({redactor.redact(error.hint)})"
        return Result(
            text,
            outcome=Outcome.FAILED,
            detail={"error": message, "exit": seen.exit_status, "reason": seen.detail},
            changes=(_change(after, Desired.STOPPED, None),),
        )


def _change(status: RuntimeStatus, desired: Desired, project: str | None) -> InventoryChange:
    return InventoryChange(status.name, desired, project, str(status.state), status.handle)
