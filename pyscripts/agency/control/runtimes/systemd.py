"""The runtime `systemd`: every agent is an instance of the template unit agency-agent@.service.

It acts on the machine only through systemd's D-Bus interface, where a polkit rule lets the control
plane start, stop and restart the units of agents and nothing else. For each started agent it writes
`<name>.json` and `<name>.token` to a directory that only it and root can read; systemd passes them
to the unit as credentials. While the token exists, the agent shall run. Agents keep running when
the control plane ends; after its restart it finds them as they are.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency import naming
from agency.clock import iso
from agency.control.runtimes.base import (
    MAX_LOG_LINES,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
    Usage,
)
from agency.control.runtimes.beside.hosted import Hosted, Hosting, nothing_hosted
from agency.control.runtimes.detail import failure_detail
from agency.control.runtimes.handover import HOST, SHOWN_REDEEM_SOCKET, Handed, open_redeem_place
from agency.control.runtimes.logs import last_lines
from agency.control.runtimes.serial import Managed, SerialRuntime
from agency.secrets import SecretValue
from agency.systemd import (
    Connection,
    JournalError,
    ServiceProperties,
    Units,
    about_to_restart,
    journal,
    may_have_process,
)

_LOG_LINES = 20

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Agent(Managed):
    """Record of one agent."""

    handed: Handed
    beside: Hosted | None = None
    path: str | None = None  # systemd's object, known after the first observation
    running: bool = False  # as last observed

    @property
    def unit(self) -> str:
        return naming.agent_unit(self.name)

    @property
    def wanted(self) -> bool:
        return self.handed.token.exists()


class SystemdRuntime(SerialRuntime[_Agent]):
    """Runtime of agents as systemd units; see `Runtime` for the contract of each call.

    The template unit loads its credentials from `directory`. `start` returns when the process
    runs; use ACP to learn if the agent is healthy. `port_of` gives the loopback port of an agent.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port_of: Callable[[str], int],
        hosted: Hosting = nothing_hosted,
        start_timeout_s: float = 30,
        stop_timeout_s: float = 30,
        new_token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        super().__init__()
        self._directory = directory
        self._port_of = port_of
        self._hosted = hosted
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._new_token = new_token
        self._connection = Connection(changed=self._changed)
        self._units = Units(self._connection)

    def kind_of(self, name: str) -> str:  # noqa: ARG002 - the same for all
        """Return `systemd`."""
        return "systemd"

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List every agent that was started since the machine booted, by name."""
        return tuple([await self._status(self._agent(name)) for name in self._names()])

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None; known after a call of `status`."""
        agent = self._agent(name)
        if not agent.running:
            return None
        try:
            port = json.loads(agent.handed.config.read_text())["port"]
        except FileNotFoundError:
            return None
        token = agent.handed.secret()
        if token is None:
            return None
        return Endpoint(f"http://{HOST}:{port}", token.reveal(), agent.name)

    async def usage(self, name: str) -> Usage:
        """Return what systemd counts of a running agent: memory, processor time, restarts."""
        seen = await self._observe(self._agent(name))
        if not seen.running:
            return Usage()
        cpu_s = None if seen.cpu_ns is None else seen.cpu_ns / 1e9
        return Usage(memory=seen.memory, cpu_s=cpu_s, restarts=seen.restarts)

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last lines of an agent's journal, oldest first, over all of its runs.

        They include systemd's own messages about the agent, with their time.

        Raises:
            JournalError: the journal cannot be read.
        """
        entries = await journal.tail(self._agent(name).unit, min(lines, MAX_LOG_LINES))
        return last_lines((e.line if e.pid == "1" else e.message for e in entries), lines)

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the tokens of the agents that were started and not stopped."""
        agents = [self._agent(name) for name in self._names()]
        held = (agent.handed.secret() for agent in agents)
        besides = (agent.beside for agent in agents)
        return (
            *(secret for secret in held if secret is not None),
            *(secret for each in besides if each is not None for secret in each.secrets()),
        )

    async def close(self) -> None:
        """Close the connection; the agents keep running, and later starts are refused."""
        self._closed = True
        for agent in self._agents.values():
            if agent.beside is not None:
                await agent.beside.leave()
        await self._connection.close()

    def _names(self) -> tuple[str, ...]:
        directory = self._directory
        files = directory.glob("*.json") if directory.is_dir() else ()
        return tuple(sorted(path.stem for path in files if naming.is_agent_name(path.stem)))

    def _make(self, name: str) -> _Agent:
        directory = self._directory
        config, token = directory / f"{name}.json", directory / f"{name}.token"
        beside = self._hosted(name, directory.parent / "beside" / name)
        gateway = None if beside is None else beside.gateway_socket
        return _Agent(name, Handed(config, token, SHOWN_REDEEM_SOCKET, gateway=gateway), beside)

    async def _runs(self, agent: _Agent) -> bool:
        seen = await self._observe(agent)
        return seen.running and agent.wanted

    async def _launch(self, agent: _Agent, request: StartRequest) -> None:
        seen = await self._observe(agent)
        if seen.running or seen.will_restart:  # its token is unknown or old
            await self._units.stop(agent.unit, timeout_s=self._stop_timeout_s)
        open_redeem_place(self._directory.parent / "redeem" / agent.name)
        if agent.beside is not None:
            await agent.beside.open()
        with agent.handed.offered(request, self._port_of(agent.name), self._new_token()):
            await self._units.reset_failed(agent.unit)  # else a sixth start in 10 s is refused
            await self._units.start(agent.unit, timeout_s=self._start_timeout_s)

    async def _halt(self, agent: _Agent) -> None:
        seen = await self._observe(agent)
        agent.handed.withdraw()  # from here on its end is requested
        if seen.active_state not in ("inactive", "failed"):
            await self._units.stop(agent.unit, timeout_s=self._stop_timeout_s)
            seen = await self._observe(agent)
        if seen.active_state == "failed":
            await self._units.reset_failed(agent.unit)
        if agent.beside is not None:
            await agent.beside.close()

    async def _erase(self, agent: _Agent) -> None:
        """Remove its configuration; its journal and its user's files are not ours to remove."""
        agent.handed.config.unlink(missing_ok=True)

    async def _observe(self, agent: _Agent) -> ServiceProperties:
        if agent.path is None:
            agent.path = await self._units.path_of(agent.unit)
        seen = await self._units.properties(agent.unit)
        agent.running = seen.running
        return seen

    async def _status(self, agent: _Agent) -> RuntimeStatus:
        seen = await self._observe(agent)
        started_at = iso(seen.started_at) if seen.started_at is not None else None
        if seen.running:
            if agent.beside is not None and agent.wanted and not self._closed:
                agent.beside.attend()
            handle = None if seen.pid is None else str(seen.pid)
            return RuntimeStatus(agent.name, State.RUNNING, handle, started_at)
        if not agent.wanted:
            return RuntimeStatus(agent.name, State.STOPPED, exit_status=seen.exit_status)
        return RuntimeStatus(
            agent.name,
            State.FAILED,
            started_at=started_at,
            exit_status=seen.exit_status,
            detail=await self._detail(agent, seen),
            recovering=seen.will_restart,
        )

    async def _detail(self, agent: _Agent, seen: ServiceProperties) -> str:
        """Explain why an agent that should run does not."""
        if seen.load_state != "loaded":
            return f"its unit is {seen.load_state}"
        if seen.exit_status is None:
            return f"systemd says {seen.active_state}, {seen.result}"
        token = agent.handed.secret()
        secrets = [token] if token is not None else []
        said = await self._said(agent, seen)
        detail = failure_detail(seen.exit_status, said, secrets=secrets)
        return f"{detail} (systemd starts it again)" if seen.will_restart else detail

    async def _said(self, agent: _Agent, seen: ServiceProperties) -> tuple[str, ...]:
        """Return the last messages of this run of the agent."""
        try:
            entries = await journal.tail(agent.unit, _LOG_LINES, invocation=seen.invocation)
        except JournalError as error:  # the exit status is known without it
            _log.warning("%s", error)
            return ()
        return tuple(entry.message for entry in entries)

    def _changed(self, path: str, values: Mapping[str, Any]) -> None:
        """Note the state that systemd signals, also when the control plane did not cause it."""
        for agent in self._agents.values():
            if agent.path != path:
                continue
            state, pid = values.get("ActiveState"), values.get("MainPID")
            sub = str(values.get("SubState", ""))
            if pid == 0 or about_to_restart(sub):
                agent.running = False
            elif pid or state is not None:
                agent.running = bool(pid) or (may_have_process(str(state)) and agent.running)
