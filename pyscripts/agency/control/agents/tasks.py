"""Tasks of running agents: what an agent is at, cancelled over ACP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import RefusalError, Result
from agency.control.runtimes.base import Endpoint
from agency.control.store.audit import Outcome
from agency.protocols import TasksCancelled, is_id


class Canceller(Protocol):
    """The call of ACP that cancels tasks."""

    async def cancel(
        self, endpoint: Endpoint, trace: str, task: str | None = None, *, key: str | None = None
    ) -> TasksCancelled:
        """Cancel one task of an agent, or every running one."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks of this agency's agents."""

    lifecycle: Lifecycle
    acp: Canceller

    async def cancel(self, name: str, task: str | None, trace: str) -> Result:
        """Cancel one task of an agent, or every running one; the agent goes on to run.

        Raises:
            RefusalError: there is no such agent, it does not run, or no task can be named so.
            AcpError: the agent refuses or does not answer.
        """
        self.lifecycle.entry(name)
        if task is not None and not is_id(task):
            raise RefusalError(f"{task} is no task's id", hint=f"!agency agents status {name}")
        endpoint = self.lifecycle.runtime.endpoint(name)
        if endpoint is None or not await self.lifecycle.is_running(name):
            raise RefusalError(f"{name} does not run, so it has no task")
        # The trace is the key: asked again after a lost answer, it cancels nothing more.
        done = await self.acp.cancel(endpoint, trace, task, key=trace)
        if not done.tasks:
            return Result(f"{name} has no running task.", detail={"tasks": 0})
        late = [each.id for each in done.tasks if each.state == "cancelling"]
        names = ", ".join(f"{each.name} ({each.id})" for each in done.tasks)
        detail = {"tasks": len(done.tasks), "late": late or None}
        if late:
            text = f"{name} was told to cancel {names}; not ended in time: {', '.join(late)}."
            return Result(text, outcome=Outcome.FAILED, detail=detail)
        return Result(f"{name} cancelled {names}.", detail=detail)
