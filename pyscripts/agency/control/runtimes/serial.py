"""Common base of the runtimes on one machine: serial calls, idempotence, closing."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agency.control.runtimes.base import AgentRuntimeError, RuntimeStatus, StartRequest
from agency.control.runtimes.handover import checked_name


@asynccontextmanager
async def _logged(call: str, name: str) -> AsyncIterator[None]:
    """Log a call of a runtime with the time that it took, and the kind of its error."""
    loop = asyncio.get_running_loop()
    begun, error = loop.time(), None
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        took_ms = round((loop.time() - begun) * 1000)
        fields = {"agent": name, "call": call, "ms": took_ms, "error": error}
        _log.debug("called a runtime", extra={"fields": fields})


@dataclass(slots=True)
class Managed:
    """Record of one agent. `lock` serialises its changes."""

    name: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, kw_only=True)


_log = logging.getLogger(__name__)

A = TypeVar("A", bound=Managed)


class SerialRuntime(ABC, Generic[A]):
    """Runtime that makes one change to an agent at a time; after `close` it starts nothing."""

    def __init__(self) -> None:
        self._agents: dict[str, A] = {}
        self._closed = False

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent; a running one is left alone.

        Raises:
            AgentRuntimeError: the name is invalid, or the agent cannot be started.
            PrerequisiteError: a prerequisite of this runtime is missing.
        """
        agent = self._agent(request.name)
        async with agent.lock, _logged("start", request.name):
            return await self._start(agent, request)

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent and wait for its end; a failed one becomes a stopped one."""
        agent = self._agent(name)
        async with agent.lock, _logged("stop", name):
            await self._halt(agent)
            return await self._status(agent)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop an agent if it runs, then start it; no other call comes in between."""
        agent = self._agent(request.name)
        async with agent.lock, _logged("restart", request.name):
            await self._halt(agent)
            return await self._start(agent, request)

    async def remove(self, name: str) -> None:
        """Stop an agent, and erase what is kept of it; one that was never started is none."""
        agent = self._agent(name)
        async with agent.lock, _logged("remove", name):
            await self._halt(agent)
            await self._erase(agent)
            self._agents.pop(name, None)

    async def status(self, name: str) -> RuntimeStatus:
        """Return the observed status; an agent that was never started is stopped."""
        return await self._status(self._agent(name))

    async def _start(self, agent: A, request: StartRequest) -> RuntimeStatus:
        if self._closed:
            raise AgentRuntimeError(
                "the control plane is ending and starts no agents",
                where=agent.name,
                hint="try again when it is back",
            )
        if not await self._runs(agent):
            await self._launch(agent, request)
        return await self._status(agent)

    def _agent(self, name: str) -> A:
        """Return an agent's record; the name is checked before it can become part of a path."""
        checked_name(name)
        if name not in self._agents:
            self._agents[name] = self._make(name)
        return self._agents[name]

    @abstractmethod
    def _make(self, name: str) -> A:
        """Make the record of an agent that was never started."""

    @abstractmethod
    async def _runs(self, agent: A) -> bool:
        """Return whether the agent runs as requested, so that a start has nothing to do."""

    @abstractmethod
    async def _launch(self, agent: A, request: StartRequest) -> None:
        """Start the agent; leftovers of an earlier run must not affect it."""

    @abstractmethod
    async def _halt(self, agent: A) -> None:
        """Stop the agent if it runs; the stop must not look like a failure."""

    @abstractmethod
    async def _erase(self, agent: A) -> None:
        """Erase what is kept of an agent that is stopped."""

    @abstractmethod
    async def _status(self, agent: A) -> RuntimeStatus:
        """Return the observed status."""
