"""The runtime `process`: every agent is a child process of the control plane.

It is for spin-ups and for trying the agency out: agents run as the control plane's user and end
with it. `systemd` is the runtime of a real host.

Below `state_dir/agents/<name>/` (0700) lie `agent.json`, `log` and `credentials/acp-token` (0600,
new at every start, removed when the agent ends). An agent with a program has that beside its ACP
process (`beside/`), begun before it and ended with it. A runtime locks
`state_dir/agents/`; after taking the lock it ends the processes of a killed predecessor.

The runtime listens on an agent's port and hands the descriptor over, so no other program can have
the port between two runs of the agent and answer for it (agency.listening).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import sha256_hex
from agency.children import Child, ChildSpec, kill_marked, start_child
from agency.clock import Clock
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
    Usage,
)
from agency.control.runtimes.beside.base import Beside, Besides, nothing_beside
from agency.control.runtimes.detail import failure_detail
from agency.control.runtimes.handover import (
    CHECK_PLACE,
    HOST,
    Handed,
    cannot_write,
    redeem_socket,
    remove_tree,
)
from agency.control.runtimes.logs import file_tail, last_lines, old_log, set_aside
from agency.control.runtimes.serial import Managed, SerialRuntime
from agency.control.runtimes.usage import session_usage
from agency.errors import PrerequisiteError
from agency.listening import Inherited, PortTakenError, listen, pause, resume
from agency.locks import try_lock
from agency.protocols import TOKEN_CREDENTIAL
from agency.secrets import SecretValue

_LOG_LINES = 20
_LOG_BYTES = 8 * 1024

_log = logging.getLogger(__name__)


def token_file(state_dir: Path, agent: str) -> Path:
    """Return the path of a running agent's ACP token, below the state directory."""
    return state_dir / "agents" / agent / "credentials" / TOKEN_CREDENTIAL


@dataclass(slots=True)
class _Agent(Managed):
    """Record of one agent."""

    directory: Path
    beside: Beside | None
    child: Child | None = None
    endpoint: Endpoint | None = None
    wanted: bool = False  # started, and no stop was requested
    listening: socket.socket | None = None  # from the first start to the end of the runtime

    @property
    def handed(self) -> Handed:
        credentials = self.directory / "credentials"
        redeem = redeem_socket(self.directory.parent.parent, self.name)
        return Handed(
            self.directory / "agent.json",
            credentials / TOKEN_CREDENTIAL,
            redeem.resolve(),
            gateway=None if self.beside is None else self.beside.gateway_socket,
        )

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.exit_status is None

    def status(self) -> RuntimeStatus:
        child = self.child
        if child is None:
            return RuntimeStatus(self.name, State.STOPPED)
        exit_status = child.exit_status
        if exit_status is None:
            return RuntimeStatus(self.name, State.RUNNING, str(child.pid), child.started_at)
        if not self.wanted:
            return RuntimeStatus(self.name, State.STOPPED, exit_status=exit_status)
        secrets = [SecretValue(self.endpoint.token)] if self.endpoint else []
        said = child.log_tail(_LOG_LINES, _LOG_BYTES)
        detail = failure_detail(exit_status, said, secrets=secrets)
        return RuntimeStatus(
            self.name,
            State.FAILED,
            started_at=child.started_at,
            exit_status=exit_status,
            detail=detail,
        )


class ProcessRuntime(SerialRuntime[_Agent]):
    """Runtime of agents as child processes; see `Runtime` for the contract of each call.

    Start it from the thread that runs the event loop (agency.children says why). `start` returns
    when the process runs; use ACP to learn if the agent is healthy. `port_of` gives the loopback
    port of an agent.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        clock: Clock,
        port_of: Callable[[str], int],
        python: str = sys.executable,
        stop_timeout_s: float = 5,
        new_token: Callable[[], str] = secrets.token_urlsafe,
        handed: Inherited | None = None,
        besides: Besides = nothing_beside,
    ) -> None:
        super().__init__()
        self._besides = besides
        self._root = state_dir / "agents"
        self._clock = clock
        self._port_of = port_of
        self._python = python
        self._stop_timeout_s = stop_timeout_s
        self._new_token = new_token
        self._handed = handed or Inherited()
        self._watchers: set[asyncio.Task[None]] = set()
        self._holding = asyncio.Lock()
        self._held: int | None = None  # descriptor of the lock on the directory

    @property
    def marker(self) -> str:
        """The marker of every process of this state directory (agency.children)."""
        return "agents-" + sha256_hex(str(self._root.resolve()).encode())[:24]

    def kind_of(self, name: str) -> str:  # noqa: ARG002 - the same for all
        """Return `process`."""
        return "process"

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List every agent that this runtime object has started, by name."""
        await self._hold()
        started = [agent for agent in self._agents.values() if agent.child is not None]
        return tuple(agent.status() for agent in sorted(started, key=lambda agent: agent.name))

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None."""
        agent = self._agent(name)
        return agent.endpoint if agent.running else None

    async def usage(self, name: str) -> Usage:
        """Return what an agent's processes use now; this runtime restarts nothing by itself."""
        agent = self._agent(name)
        if agent.child is None or not agent.running:
            return Usage()
        others = () if agent.beside is None else agent.beside.pids()
        return await asyncio.to_thread(session_usage, agent.child.pid, *others)

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that an agent wrote, oldest first, over all of its runs."""
        agent = self._agent(name)
        tail = await asyncio.to_thread(file_tail, agent.log, lines)
        if len(tail) < lines:
            tail = (*await asyncio.to_thread(file_tail, old_log(agent.log), lines), *tail)
        return last_lines(tail, lines)

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the tokens of the agents that were started and not stopped."""
        held = (agent.endpoint for agent in self._agents.values())
        besides = (agent.beside for agent in self._agents.values())
        return (
            *(SecretValue(endpoint.token) for endpoint in held if endpoint is not None),
            *(secret for each in besides if each is not None for secret in each.secrets()),
        )

    async def close(self) -> None:
        """End every agent and its leftover processes; later starts are refused."""
        self._closed = True
        ends = await asyncio.gather(
            *(self.stop(name) for name in [*self._agents]), return_exceptions=True
        )
        for watcher in self._watchers:  # only of processes that did not end
            watcher.cancel()
        for agent in self._agents.values():
            if agent.listening is not None:
                agent.listening.close()
                agent.listening = None
        async with self._holding:
            if self._held is not None:
                await asyncio.to_thread(kill_marked, self.marker, self._stop_timeout_s)
                os.close(self._held)
                self._held = None
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    def _make(self, name: str) -> _Agent:
        directory = self._root / name
        return _Agent(name, directory, self._besides(name, directory, self.marker))

    async def _runs(self, agent: _Agent) -> bool:
        await self._hold()
        return agent.running

    async def _launch(self, agent: _Agent, request: StartRequest) -> None:
        port = self._port_of(agent.name)
        listening = self._listen(agent, port)
        endpoint = Endpoint(f"http://{HOST}:{port}", self._new_token(), agent.name)
        with agent.handed.offered(request, port, endpoint.token):
            set_aside(agent.log)
            child = await self._begin(agent, listening)
        agent.child, agent.endpoint, agent.wanted = child, endpoint, True
        watcher = asyncio.create_task(self._watch(agent, child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _halt(self, agent: _Agent) -> None:
        """Send SIGTERM, wait the grace time, send SIGKILL."""
        await self._hold()
        if agent.child is not None:
            agent.wanted = False
            await self._end(agent, agent.child)
            agent.handed.withdraw()
            agent.endpoint = None
            if agent.listening is not None:
                pause(agent.listening)

    async def _begin(self, agent: _Agent, listening: socket.socket) -> Child:
        """Start the process of an agent, and what runs beside it."""
        beside, spec = agent.beside, _spec(agent, self._python, listening)
        if beside is None:
            return await start_child(spec, marker=self.marker)
        await beside.close(self._stop_timeout_s)  # of a run whose end is not dealt with yet
        try:
            await beside.open(agent.handed.token.parent)
            return await start_child(spec, marker=self.marker)
        except BaseException:
            await beside.close(self._stop_timeout_s)
            raise

    async def _end(self, agent: _Agent, child: Child) -> None:
        """End the process of an agent, and what runs beside it, at the same time."""
        limit_s = self._stop_timeout_s
        others = () if agent.beside is None else (agent.beside.close(limit_s),)
        for end in await asyncio.gather(child.stop(limit_s), *others, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    async def _erase(self, agent: _Agent) -> None:
        """Remove its directory, and free its port."""
        if agent.listening is not None:
            agent.listening.close()
            agent.listening = None
        await asyncio.to_thread(remove_tree, agent.directory)

    async def _status(self, agent: _Agent) -> RuntimeStatus:
        await self._hold()
        return agent.status()

    async def _watch(self, agent: _Agent, child: Child) -> None:
        """Close the port of a process that ended; log an end that was not asked for."""
        await child.wait()
        if agent.child is child and agent.listening is not None:
            pause(agent.listening)
        if agent.child is child and agent.wanted:
            agent.handed.withdraw()
            _log.warning("agent %s failed: %s", agent.name, agent.status().detail)
        async with agent.lock:
            if agent.child is child and agent.beside is not None:
                await agent.beside.close(self._stop_timeout_s)

    def _listen(self, agent: _Agent, port: int) -> socket.socket:
        """Listen on an agent's port; no other program gets the port from here on.

        It is kept when the agent stops or dies: then it refuses, and the next start uses it again.
        """
        held = agent.listening
        if held is not None and held.getsockname()[1] != port:
            held.close()
            held = None
        hint = "end that program, or set another port for this agent in instance.yaml"
        try:
            held = held or self._handed.take(HOST, port) or listen(port, HOST, hint=hint)
            agent.listening = held
            resume(held, hint=hint)
        except PortTakenError as error:
            raise AgentRuntimeError(error.message, where=error.where, hint=error.hint) from error
        return held

    async def _hold(self) -> None:
        """Lock the directory, once, and end the processes of a killed predecessor."""
        async with self._holding:
            if self._held is not None or self._closed:
                return
            held = _lock(self._root)
            try:
                await asyncio.to_thread(kill_marked, self.marker, self._stop_timeout_s)
                for token in self._root.glob(f"*/credentials/{TOKEN_CREDENTIAL}"):
                    token.unlink(missing_ok=True)
            except BaseException:
                os.close(held)
                raise
            self._held = held


def _spec(agent: _Agent, python: str, listening: socket.socket) -> ChildSpec:
    descriptor = listening.fileno()
    return ChildSpec(
        name=f"agent {agent.name}",
        # -I: neither the working directory nor PYTHON* variables add code to the agent.
        argv=(
            *(python, "-I", "-m", "agency", "agent", "run", "--json"),
            *("--config", str(agent.handed.config), "--listen-fd", str(descriptor)),
        ),
        env={"CREDENTIALS_DIRECTORY": str(agent.handed.token.parent)},
        cwd=agent.directory,
        log_path=agent.log,
        pass_fds=(descriptor,),
    )


def _lock(root: Path) -> int:
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise cannot_write(root, error) from error
    descriptor = try_lock(root / ".lock", hint=CHECK_PLACE)
    if descriptor is None:
        raise PrerequisiteError(
            "another control plane runs agents from this directory",
            where=str(root),
            hint="stop it first, or give this one a state directory of its own",
        )
    return descriptor
