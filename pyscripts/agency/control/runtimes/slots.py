"""Slots: agents that a command made run as users and units that NixOS declared under another name.

A call about such an agent is one about its slot, and what is seen of the slot is told of the agent.
Its process knows its own name: its Gosuto and what it answers are in that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from agency.control.runtimes.base import Endpoint, Runtime, RuntimeStatus, StartRequest, Usage
from agency.secrets import SecretValue


@dataclass(frozen=True, slots=True)
class SlottedRuntime:
    """Runtime by which agents run in their slots; `slots` gives those of agents that have one."""

    inner: Runtime
    slots: Callable[[], Mapping[str, str]]

    def _of(self, name: str) -> str:
        return self.slots().get(name, name)

    def kind_of(self, name: str) -> str:
        """Return the kind of runtime in which an agent runs."""
        return self.inner.kind_of(self._of(name))

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent in its slot."""
        there = replace(request, name=self._of(request.name), agent=request.name)
        return replace(await self.inner.start(there), name=request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent, and wait for its end."""
        return replace(await self.inner.stop(self._of(name)), name=name)

    async def remove(self, name: str) -> None:
        """Stop an agent, and erase what is kept of it in its slot."""
        await self.inner.remove(self._of(name))

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop an agent if it runs, then start it."""
        there = replace(request, name=self._of(request.name), agent=request.name)
        return replace(await self.inner.restart(there), name=request.name)

    async def status(self, name: str) -> RuntimeStatus:
        """Observe an agent."""
        return replace(await self.inner.status(self._of(name)), name=name)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List every agent that was started, by name."""
        taken = {slot: name for name, slot in self.slots().items()}
        seen = [
            replace(status, name=taken.get(status.name, status.name))
            for status in await self.inner.list()
        ]
        return tuple(sorted(seen, key=lambda status: status.name))

    async def usage(self, name: str) -> Usage:
        """Return the resources that an agent uses."""
        return await self.inner.usage(self._of(name))

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Read the last lines of the slot's log."""
        return await self.inner.log_tail(self._of(name), lines)

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that agents hold."""
        return self.inner.secrets()

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None."""
        endpoint = self.inner.endpoint(self._of(name))
        return None if endpoint is None else replace(endpoint, agent=name)

    async def close(self) -> None:
        """Close the runtime."""
        await self.inner.close()
