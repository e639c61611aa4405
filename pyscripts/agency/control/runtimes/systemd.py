"""The runtime `systemd`: every agent is an instance of the template unit agency-agent@.service.

All it can do to a machine goes through systemd's D-Bus interface, where a polkit rule lets the
control plane start, stop and restart the units of agents and nothing else. For each agent that it
starts it leaves `<name>.json` and `<name>.token` in a directory that only it and root can read;
systemd hands them to the unit as credentials. A token that is there says that the agent shall
run. Agents outlive the control plane; after its restart it finds them as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency import naming
from agency.clock import iso
from agency.control.runtimes import journal
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
)
from agency.control.runtimes.detail import failure_detail
from agency.control.runtimes.handover import HOST, agent_config, checked_name
from agency.control.runtimes.systemd_bus import SystemdBus, UnitProperties
from agency.errors import PrerequisiteError
from agency.files import write_atomically

_LOG_LINES = 20
_RUNNING = ("active", "activating", "deactivating", "reloading")


@dataclass(slots=True)
class _Agent:
    """What is known of one agent. `lock` serialises what changes it."""

    name: str
    config: Path
    token: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    path: str | None = None  # systemd's object, once it has been looked at
    running: bool = False  # as last heard

    @property
    def unit(self) -> str:
        return naming.agent_unit(self.name)

    @property
    def wanted(self) -> bool:
        return self.token.exists()


class SystemdRuntime:
    """Agents as systemd units; see `Runtime` for what each call promises.

    `directory` is where the template unit takes its credentials from. `start` returns when the
    process runs; whether the agent is healthy is asked through ACP.
    """

    kind = "systemd"

    def __init__(
        self,
        directory: Path,
        *,
        start_timeout_s: float = 30,
        stop_timeout_s: float = 30,
        new_token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._directory = directory
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._new_token = new_token
        self._agents: dict[str, _Agent] = {}
        self._bus = SystemdBus(changed=self._changed)
        self._closed = False

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent; a running one is left alone.

        Raises:
            AgentRuntimeError: no such name or unit, or systemd refuses or fails.
            PrerequisiteError: the directory cannot be written.
        """
        agent = self._agent(request.name)
        async with agent.lock:
            return await self._start(agent, request)

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent as its unit says; a failed one becomes a stopped one."""
        agent = self._agent(name)
        async with agent.lock:
            return await self._stop(agent)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop if it runs, then start; no other call comes in between."""
        agent = self._agent(request.name)
        async with agent.lock:
            await self._stop(agent)
            return await self._start(agent, request)

    async def status(self, name: str) -> RuntimeStatus:
        """What is observed now; an agent that was never started is stopped."""
        agent = self._agent(name)
        return await self._status(agent)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """Every agent that was started since the machine booted, by name."""
        names = sorted(p.stem for p in _files(self._directory) if naming.is_name(p.stem))
        return tuple([await self._status(self._agent(name)) for name in names])

    def endpoint(self, name: str) -> Endpoint | None:
        """Where a running agent serves ACP, or None; known once its status was asked for."""
        agent = self._agent(name)
        if not agent.running:
            return None
        try:
            port = json.loads(agent.config.read_text())["port"]
            token = agent.token.read_text()
        except FileNotFoundError:
            return None
        return Endpoint(f"http://{HOST}:{port}", token, agent.name)

    async def properties(self, name: str) -> UnitProperties:
        """What systemd counts of an agent: memory, processor time, restarts, exit status."""
        return await self._observe(self._agent(name))

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """The last lines that an agent wrote, oldest first, over all of its runs."""
        return await journal.tail(self._agent(name).unit, lines)

    async def close(self) -> None:
        """Give up the connection; the agents go on, and nothing can be started after."""
        self._closed = True
        await self._bus.close()

    def _agent(self, name: str) -> _Agent:
        checked_name(name)
        if name not in self._agents:
            directory = self._directory
            self._agents[name] = _Agent(
                name, directory / f"{name}.json", directory / f"{name}.token"
            )
        return self._agents[name]

    async def _start(self, agent: _Agent, request: StartRequest) -> RuntimeStatus:
        if self._closed:
            raise AgentRuntimeError(
                "the control plane is ending and starts no agents",
                where=agent.name,
                hint="try again when it is back",
            )
        seen = await self._observe(agent)
        if seen.running and agent.wanted:
            return await self._status(agent)
        if seen.running or seen.will_restart:  # with a token that nobody knows, or an old one
            await self._bus.stop_unit(agent.unit, timeout_s=self._stop_timeout_s)
        self._write(agent, agent_config(request), self._new_token())
        try:
            await self._bus.reset_failed(agent.unit)  # else systemd refuses a sixth start in 10 s
            await self._bus.start_unit(agent.unit, timeout_s=self._start_timeout_s)
        except BaseException:
            agent.token.unlink(missing_ok=True)
            raise
        return await self._status(agent)

    async def _stop(self, agent: _Agent) -> RuntimeStatus:
        seen = await self._observe(agent)
        agent.token.unlink(missing_ok=True)  # from here on its end is what was asked for
        if seen.active_state != "inactive" and seen.active_state != "failed":
            await self._bus.stop_unit(agent.unit, timeout_s=self._stop_timeout_s)
            seen = await self._observe(agent)
        if seen.active_state == "failed":
            await self._bus.reset_failed(agent.unit)
        return await self._status(agent)

    async def _observe(self, agent: _Agent) -> UnitProperties:
        if agent.path is None:
            agent.path = await self._bus.path_of(agent.unit)
        seen = await self._bus.properties(agent.unit)
        agent.running = seen.running
        return seen

    async def _status(self, agent: _Agent) -> RuntimeStatus:
        seen = await self._observe(agent)
        started_at = iso(seen.started_at) if seen.started_at is not None else None
        if seen.running:
            return RuntimeStatus(agent.name, State.RUNNING, seen.pid, started_at)
        if not agent.wanted:
            return RuntimeStatus(agent.name, State.STOPPED, exit_status=seen.exit_status)
        return RuntimeStatus(
            agent.name,
            State.FAILED,
            started_at=started_at,
            exit_status=seen.exit_status,
            detail=await self._detail(agent, seen),
        )

    async def _detail(self, agent: _Agent, seen: UnitProperties) -> str:
        """Why an agent that should run does not."""
        if seen.load_state != "loaded":
            return f"its unit is {seen.load_state}"
        if seen.exit_status is None:
            return f"systemd says {seen.active_state}, {seen.result}"
        token = ""
        with contextlib.suppress(FileNotFoundError):
            token = agent.token.read_text()
        log = await journal.tail(agent.unit, _LOG_LINES, invocation=seen.invocation)
        detail = failure_detail(seen.exit_status, log, secrets=[token])
        return f"{detail} (systemd starts it again)" if seen.will_restart else detail

    def _write(self, agent: _Agent, config: bytes, token: str) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be made: {error.strerror or error}",
                where=str(self._directory),
                hint="the control plane's unit gives it this directory (RuntimeDirectory)",
            ) from error
        write_atomically(agent.config, config, mode=0o600)
        write_atomically(agent.token, token.encode(), mode=0o600)

    def _changed(self, path: str, values: Mapping[str, Any]) -> None:
        """Notice the end of an agent that nobody asked about."""
        for agent in self._agents.values():
            if agent.path != path:
                continue
            state, pid = values.get("ActiveState"), values.get("MainPID")
            sub = str(values.get("SubState", ""))
            if pid == 0 or sub.startswith("auto-restart"):
                agent.running = False
            elif pid or state is not None:
                agent.running = bool(pid) or (state in _RUNNING and agent.running)


def _files(directory: Path) -> list[Path]:
    return list(directory.glob("*.json")) if directory.is_dir() else []
