"""The runtime `docker`: agents as containers that see no network and no disk but their own.

A container is made anew at each start, from an image that is fixed by its id, and kept after its
end, so that its exit status and its log can be read. For each agent the runtime writes
`NAME/agent.json` and `NAME/acp-token` below a closed directory; the container mounts `NAME/`
read-only. While the token exists, the agent shall run. Agents keep running when the control plane
ends; after its restart it finds them by name and label, and listens for them again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from agency.control.runtimes.detail import failure_detail
from agency.control.runtimes.docker import parts
from agency.control.runtimes.docker.container import (
    Seen,
    acp_inside,
    container_config,
    handed_files,
    sum_of,
    whole_seconds,
)
from agency.control.runtimes.docker.crew import ContainerCrew, Yard
from agency.control.runtimes.docker.engine import Engine
from agency.control.runtimes.docker.relay import Relay
from agency.control.runtimes.docker.settings import DockerSettings
from agency.control.runtimes.handover import (
    SHOWN_REDEEM_SOCKET,
    Handed,
    make_private,
    open_redeem_place,
    remove_tree,
)
from agency.control.runtimes.logs import file_tail, last_lines
from agency.control.runtimes.serial import Managed, SerialRuntime
from agency.errors import AgencyError
from agency.files import write_atomically
from agency.secrets import SecretValue

_LOG_LINES = 20
_KIND = "container"

_log = logging.getLogger(__name__)

# Of an agent, by its name; None where it has no program.
Crews = Callable[[str, Yard], ContainerCrew | None]


def no_crew(_name: str, _yard: Yard) -> ContainerCrew | None:
    """Return None: the agent has no program."""
    return None


@dataclass(slots=True)
class _Agent(Managed):
    """Record of one agent."""

    handed: Handed
    relay: Relay
    kept_log: Path  # the end of the logs of containers that were removed
    crew: ContainerCrew | None
    watched: str | None = None  # id of the container whose end is waited for
    watcher: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None  # of its crew
    # Serialises what opens and closes the endpoint: looks come at any time, also during a change.
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def wanted(self) -> bool:
        return self.handed.token.exists()

    @property
    def running(self) -> bool:
        """True while a container of this agent runs, as far as is known without asking."""
        return self.watcher is not None and not self.watcher.done()


class DockerRuntime(SerialRuntime[_Agent]):
    """Runtime of agents as containers; see `Runtime` for the contract of each call.

    `directory` is for what is handed to agents, `logs` for what is kept of their logs. `start`
    returns when the container runs; use ACP to learn if the agent is healthy. `port_of` gives the
    port that an agent's configuration names; in its container nothing listens there. `redeem` gives
    the path of the socket at which an agent redeems its secrets, `policy` that of the file from
    which its programs read its Gosuto. `crews` makes the containers beside an agent's.
    """

    def __init__(
        self,
        settings: DockerSettings,
        *,
        instance: str,
        directory: Path,
        logs: Path,
        port_of: Callable[[str], int],
        redeem: Callable[[str], Path],
        stop_timeout_s: float = 10,
        new_token: Callable[[], str] = secrets.token_urlsafe,
        policy: Callable[[str], Path] | None = None,
        crews: Crews = no_crew,
    ) -> None:
        super().__init__()
        self._policy = policy or (
            lambda agent: logs / "policies" / agent / "gateway/state/policy.json"
        )
        self._crews = crews
        self._closing: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._directory, self._logs = directory, logs
        self._port_of = port_of
        self._redeem = redeem
        self._stop_timeout_s = stop_timeout_s
        self._new_token = new_token
        self._engine = Engine(settings, instance)

    def kind_of(self, name: str) -> str:  # noqa: ARG002 - the same for all
        """Return `docker`."""
        return "docker"

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop an agent if it runs, then start it; if it could not start, it is left as it is."""
        if not self._closed:
            await self._engine.check()
        return await super().restart(request)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List every agent that has a container, by name; foreign containers are not looked at."""
        names = [name for name in await self._engine.names() if naming.is_agent_name(name)]
        return tuple([await self._status(self._agent(name)) for name in names])

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None; known after a call of `status`."""
        agent = self._agent(name)
        token, front = agent.handed.secret(), agent.relay.front
        if not agent.running or token is None or front is None:
            return None
        policy = None if agent.crew is None else agent.crew.yard.policy
        return Endpoint(f"http://{name}", token.reveal(), name, socket=front, policy=policy)

    async def usage(self, name: str) -> Usage:
        """Return what the engine counts of a running agent; restarts are of its programs alone."""
        agent = self._agent(name)
        seen = await self._observe(agent)
        if seen is None or not seen.running:
            return Usage()
        own = await self._engine.usage(seen.id)
        return own if agent.crew is None else sum_of((own, *await agent.crew.usages()))

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that an agent wrote, oldest first, over all of its runs."""
        agent = self._agent(name)
        seen = await self._observe(agent)
        now = () if seen is None else await self._engine.log(seen.id, min(lines, MAX_LOG_LINES))
        kept = await asyncio.to_thread(file_tail, agent.kept_log, lines)
        return last_lines([*kept, *now], lines)

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the tokens of the agents that were started and not stopped."""
        directory = self._directory
        found = directory.iterdir() if directory.is_dir() else ()
        names = sorted(path.name for path in found if naming.is_agent_name(path.name))
        agents = [self._agent(name) for name in names]
        held = (agent.handed.secret() for agent in agents)
        crews = (agent.crew for agent in agents)
        return (
            *(secret for secret in held if secret is not None),
            *(secret for crew in crews if crew is not None for secret in crew.secrets()),
        )

    async def close(self) -> None:
        """Close the connections; the agents keep running, and later starts are refused."""
        self._closed = True
        for agent in [*self._agents.values()]:
            await self._unwatch(agent)
            if agent.crew is not None:
                await agent.crew.leave()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._engine.close()

    def _make(self, name: str) -> _Agent:
        config, token = handed_files(self._directory / name)
        yard = Yard(
            self._engine,
            self._settings,
            self._directory,
            self._policy(name),
            self._stop_timeout_s,
        )
        crew = self._crews(name, yard)
        control = None if crew is None else Path(parts.CONTROL_SOCKET)
        handed = Handed(config, token, SHOWN_REDEEM_SOCKET, for_others=True, gateway=control)
        relay = Relay(self._directory, name)
        return _Agent(name, handed, relay, self._logs / f"{name}.log", crew)

    async def _runs(self, agent: _Agent) -> bool:
        seen = await self._observe(agent)
        return seen is not None and seen.running and agent.wanted

    async def _launch(self, agent: _Agent, request: StartRequest) -> None:
        await self._engine.check()
        await self._discard(agent)
        redeem = self._redeem(agent.name).parent
        open_redeem_place(redeem)
        identity, crew = self._engine.identity(agent.name), agent.crew
        inside = acp_inside(self._directory / agent.name, redeem)
        inside = inside if crew is None else crew.beside(inside)
        config = container_config(
            identity, self._settings, inside, request.trace, self._stop_timeout_s
        )
        make_private(self._directory)
        with agent.handed.offered(request, self._port_of(agent.name), self._new_token()):
            await self._open_crew(agent)
            async with agent.opening:
                await agent.relay.open()
                await self._run(agent, config)
        await self._observe(agent)

    async def _open_crew(self, agent: _Agent) -> None:
        """Begin what runs beside an agent's ACP process; what is left of an earlier run ends."""
        crew = agent.crew
        if crew is None:
            return
        await crew.close(self._stop_timeout_s)
        try:
            await crew.open()
        except BaseException:
            await crew.close(self._stop_timeout_s)
            raise

    async def _run(self, agent: _Agent, config: Mapping[str, Any]) -> None:
        """Create an agent's container and start it; if it does not start, it is removed."""
        made = await self._engine.create(agent.name, config)
        try:
            await self._engine.start(made)
        except BaseException:
            await self._shut(agent)
            await self._engine.remove(made)
            if agent.crew is not None:
                await agent.crew.close(self._stop_timeout_s)
            raise

    async def _discard(self, agent: _Agent) -> None:
        """Remove the container of an earlier run, and keep the end of its log."""
        seen = await self._engine.find(agent.name)
        await self._unwatch(agent)
        if seen is None:
            return
        if seen.running:  # its token is unknown or old
            await self._engine.stop(seen.id, whole_seconds(self._stop_timeout_s))
        said = await self._engine.log(seen.id, MAX_LOG_LINES)
        await asyncio.to_thread(_keep, agent.kept_log, said)
        await self._engine.remove(seen.id)

    async def _halt(self, agent: _Agent) -> None:
        """Send SIGTERM, wait the grace time, send SIGKILL; the container is kept."""
        seen = await self._engine.find(agent.name)
        agent.handed.withdraw()  # from here on its end is requested
        limit_s = self._stop_timeout_s
        ends = [] if agent.crew is None else [agent.crew.close(limit_s)]
        if seen is not None and seen.running:
            ends.append(self._engine.stop(seen.id, whole_seconds(limit_s)))
        found = await asyncio.gather(*ends, return_exceptions=True)
        await self._unwatch(agent)
        for end in found:
            if isinstance(end, BaseException):
                raise end

    async def _erase(self, agent: _Agent) -> None:
        """Remove its container, its volume, and the end of its log."""
        seen = await self._engine.find(agent.name)
        if seen is not None:
            await self._engine.remove(seen.id)
        await self._engine.remove_volume(agent.name, self._engine.identity(agent.name).volume)
        if agent.crew is not None:
            await agent.crew.erase()
        await asyncio.to_thread(remove_tree, self._directory / agent.name)
        await asyncio.to_thread(agent.kept_log.unlink, missing_ok=True)

    async def _observe(self, agent: _Agent) -> Seen | None:
        """Look at an agent's container; watch one that runs and was found first now."""
        async with agent.opening:
            seen = await self._engine.find(agent.name)
            if seen is None or not seen.running:
                await self._shut(agent)
                self._end_crew(agent)
            elif self._closed or not agent.wanted:
                pass  # its end is requested, or it is left to another control plane
            elif seen.id != agent.watched or not agent.running:
                await self._shut(agent)
                await agent.relay.open()
                if agent.crew is not None and not agent.crew.running:
                    await agent.crew.resume()
                agent.watched = seen.id
                agent.watcher = asyncio.create_task(self._watch(agent, seen.id))
        return seen

    async def _status(self, agent: _Agent) -> RuntimeStatus:
        seen = await self._observe(agent)
        started_at = None
        if seen is not None and seen.started_at is not None:
            started_at = iso(seen.started_at)
        if seen is not None and seen.running:
            return RuntimeStatus(
                agent.name, State.RUNNING, seen.handle, started_at, handle_name=_KIND
            )
        exit_status = None if seen is None else seen.exit_status
        if not agent.wanted:
            return RuntimeStatus(
                agent.name, State.STOPPED, exit_status=exit_status, handle_name=_KIND
            )
        return RuntimeStatus(
            agent.name,
            State.FAILED,
            started_at=started_at,
            exit_status=exit_status,
            detail=await self._detail(agent, seen),
            handle_name=_KIND,
        )

    async def _detail(self, agent: _Agent, seen: Seen | None) -> str:
        """Explain why an agent that should run does not."""
        if seen is None:
            return "its container is gone"
        if seen.exit_status is None:
            return "its container was made and never started"
        token = agent.handed.secret()
        said = await self._engine.log(seen.id, _LOG_LINES)
        detail = failure_detail(seen.exit_status, said, secrets=[] if token is None else [token])
        return f"out of memory, {detail}" if seen.out_of_memory else detail

    async def _watch(self, agent: _Agent, container: str) -> None:
        """Wait for a container's end, and log one that was not asked for."""
        try:
            await self._engine.wait(container)
        except AgencyError as error:  # found again by the next look
            _log.warning("agent %s is not watched: %s", agent.name, error.message)
            return
        if agent.wanted:
            _log.warning("agent %s ended without being asked to", agent.name)
        self._end_crew(agent)

    def _end_crew(self, agent: _Agent) -> None:
        """Let what runs beside an ACP process end that ended, once no change is under way."""
        crew = agent.crew
        if crew is None or self._closed or not (crew.running or not crew.known):
            return

        async def end() -> None:
            async with agent.lock:
                try:
                    seen = await self._engine.find(agent.name)
                    if seen is None or not seen.running:
                        await crew.close(self._stop_timeout_s)
                except AgencyError as error:  # the next look tries again
                    _log.warning("programs of %s may run on: %s", agent.name, error.message)

        if not agent.ending or agent.ending.done():
            agent.ending = asyncio.create_task(end())
            self._closing.add(agent.ending)
            agent.ending.add_done_callback(self._closing.discard)

    async def _unwatch(self, agent: _Agent) -> None:
        """Stop to wait for a container's end, and close the agent's endpoint."""
        async with agent.opening:
            await self._shut(agent)

    async def _shut(self, agent: _Agent) -> None:
        watcher, agent.watcher, agent.watched = agent.watcher, None, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await agent.relay.close()


def _keep(path: Path, lines: tuple[str, ...]) -> None:
    """Add lines to the kept end of a log, within the bounds of `Runtime.log_tail`."""
    make_private(path.parent)
    kept = last_lines([*file_tail(path, MAX_LOG_LINES), *lines], MAX_LOG_LINES)
    write_atomically(path, "".join(f"{line}\n" for line in kept).encode(), mode=0o600)
