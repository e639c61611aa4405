"""Registry of runtimes: one factory a kind, and the runtime of each agent.

To add a runtime, add its module to this folder, a factory to this module, and a bench for the
conformance tests to tests/integration/runtimes/conftest.py. control.json may then name it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    Runtime,
    RuntimeStatus,
    StartRequest,
    Usage,
)
from agency.control.runtimes.beside.base import Besides, nothing_beside
from agency.control.runtimes.beside.hosted import Hosting, nothing_hosted
from agency.control.runtimes.beside.writing import policy_file
from agency.control.runtimes.docker.settings import DockerSettings
from agency.control.runtimes.handover import redeem_socket
from agency.errors import PrerequisiteError
from agency.listening import Inherited
from agency.secrets import SecretValue

if TYPE_CHECKING:
    from agency.control.runtimes.docker.runtime import Crews


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Settings for the factories; `ports` are the loopback ports of agents, by name.

    `handed` holds sockets that listen on some of those ports, made by the control plane's parent.
    `instance` is the instance's name; `docker` is for the runtime of that name. `besides`, `crews`
    and `hosted` make what runs beside an agent, in the runtimes `process`, `docker` and `systemd`.
    """

    state_dir: Path
    ports: Mapping[str, int]
    stop_timeout_s: float
    clock: Clock
    handed: Inherited = field(default_factory=Inherited)
    instance: str = "agency"
    docker: DockerSettings | None = None
    besides: Besides = nothing_beside
    crews: Crews | None = None
    hosted: Hosting = nothing_hosted

    def port_of(self, name: str) -> int:
        """Return the port on which an agent of this machine serves ACP.

        Raises:
            AgentRuntimeError: the agent has no port.
        """
        if name not in self.ports:
            raise AgentRuntimeError(
                "the agent has no port", where=name, hint="add it in instance.yaml"
            )
        return self.ports[name]


Factory = Callable[[RuntimeSettings], Runtime]

_RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"  # set by systemd


class RuntimePerAgent:
    """Runtime that passes each call about an agent to that agent's runtime.

    `chosen` maps agents to names of runtimes; other agents run in `default`.
    """

    def __init__(
        self, runtimes: Mapping[str, Runtime], chosen: Mapping[str, str], default: str
    ) -> None:
        self._runtimes = runtimes
        self._chosen = chosen
        self._default = default

    def _of(self, name: str) -> Runtime:
        return self._runtimes[self._chosen.get(name, self._default)]

    def kind_of(self, name: str) -> str:
        """Return the kind of an agent's runtime."""
        return self._of(name).kind_of(name)

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent in its runtime."""
        return await self._of(request.name).start(request)

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent and wait for its end."""
        return await self._of(name).stop(name)

    async def remove(self, name: str) -> None:
        """Stop an agent, and erase what is kept of it."""
        await self._of(name).remove(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop an agent if it runs, then start it."""
        return await self._of(request.name).restart(request)

    async def status(self, name: str) -> RuntimeStatus:
        """Observe an agent."""
        return await self._of(name).status(name)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List the agents of every runtime, by name."""
        seen = [status for runtime in self._runtimes.values() for status in await runtime.list()]
        return tuple(sorted(seen, key=lambda status: status.name))

    async def usage(self, name: str) -> Usage:
        """Return the resources that an agent uses."""
        return await self._of(name).usage(name)

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Read the last lines of an agent's log."""
        return await self._of(name).log_tail(name, lines)

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that the agents of every runtime hold."""
        return tuple(secret for runtime in self._runtimes.values() for secret in runtime.secrets())

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None."""
        return self._of(name).endpoint(name)

    async def close(self) -> None:
        """Close every runtime at the same time, even if closing one fails.

        Raises:
            BaseException: the first error.
        """
        ends = await asyncio.gather(
            *(runtime.close() for runtime in self._runtimes.values()), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end


def _process(settings: RuntimeSettings) -> Runtime:
    from agency.control.runtimes.process import ProcessRuntime

    return ProcessRuntime(
        settings.state_dir,
        clock=settings.clock,
        port_of=settings.port_of,
        stop_timeout_s=settings.stop_timeout_s,
        handed=settings.handed,
        besides=settings.besides,
    )


def _systemd(settings: RuntimeSettings) -> Runtime:
    from agency.control.runtimes.systemd import SystemdRuntime

    directory = os.environ.get(_RUNTIME_DIRECTORY)
    if not directory:
        raise PrerequisiteError(
            "the runtime `systemd` needs a directory for its agents' credentials",
            where=f"${_RUNTIME_DIRECTORY}",
            hint="run the control plane as its unit agency-control.service does",
        )
    return SystemdRuntime(
        Path(directory) / "agents", port_of=settings.port_of, hosted=settings.hosted
    )


def _docker(settings: RuntimeSettings) -> Runtime:
    from agency.control.runtimes.docker.runtime import DockerRuntime, no_crew

    if settings.docker is None:
        raise PrerequisiteError(
            "the runtime `docker` needs the image of its agents",
            where="docker",
            hint="`make agent-image` makes it, and prints the lines for instance.yaml",
        )
    # Two control planes of one machine may have the same instance, such as two trials.
    place = sha256_hex(str(settings.state_dir.resolve()).encode())[:8]
    directory = os.environ.get(_RUNTIME_DIRECTORY)
    base = Path(directory) if directory else settings.state_dir.absolute()
    return DockerRuntime(
        settings.docker,
        instance=f"{settings.instance}-{place}",
        directory=base / "containers",
        logs=settings.state_dir / "container-logs",
        port_of=settings.port_of,
        redeem=lambda agent: redeem_socket(settings.state_dir, agent).absolute(),
        stop_timeout_s=settings.stop_timeout_s,
        policy=lambda agent: policy_file(settings.state_dir.absolute(), agent),
        crews=settings.crews or no_crew,
    )


# By the names that the configuration may use. Each factory imports its own runtime only.
FACTORIES: dict[str, Factory] = {"process": _process, "systemd": _systemd, "docker": _docker}


def open_runtimes(
    default: str,
    chosen: Mapping[str, str],
    settings: RuntimeSettings,
    factories: Mapping[str, Factory] = FACTORIES,
) -> Runtime:
    """Make the default runtime and those that `chosen` names, which maps agents to runtimes.

    Raises:
        PrerequisiteError: a runtime's prerequisite is missing, such as the RuntimeDirectory of a
            unit for `systemd`.
    """
    names = dict.fromkeys((default, *chosen.values()))
    made = {name: factories[name](settings) for name in names}
    return RuntimePerAgent(made, chosen, default)
