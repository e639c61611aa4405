"""An agency on another machine as the examination sees it: by forwarded ports and by asking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from agency import naming
from agency.instance import Instance
from agency.machine import Machine, MachineError, run, units
from agency.matrix import MatrixSession, Person
from agency.secrets import SecretValue
from agency.spinup.observe.machine import HANDOVER
from agency.spinup.record import Evidence
from agency.spinup.remote.agent_units import with_units
from agency.spinup.remote.asking import Observer
from agency.transcript import SERVICES

_OF_AGENTS = ("agents.health", "agents.stopped")


@dataclass(frozen=True, slots=True)
class Entrance:
    """Address by which people reach the homeserver, and the session that knows the way."""

    url: str
    session: aiohttp.ClientSession


@dataclass(slots=True)
class RemoteSubject:
    """An agency of systemd units."""

    machine: Machine
    observer: Observer
    instance: Instance
    session: aiohttp.ClientSession
    homeserver_url: str
    control_url: str
    secrets: Callable[[str], SecretValue]
    known: Callable[[], Sequence[SecretValue]]
    password: Callable[[str], SecretValue]
    usage: Callable[[], Awaitable[Evidence]] | None = None  # of the whole machine
    entrance: Entrance | None = None  # of people; None: at the homeserver's own port
    approvers: Sequence[str] = ()  # those who approve what the first operator asks for
    _tokens: dict[str, SecretValue] = field(default_factory=dict, repr=False)  # by digest

    @property
    def control_room(self) -> str:
        """See Subject."""
        return naming.control_room_alias(self.instance.domain)

    def secret(self, name: str) -> SecretValue:
        """See Subject."""
        return self.secrets(name)

    def known_secrets(self) -> list[SecretValue]:
        """See Subject."""
        return [*self.known(), *self._tokens.values()]

    async def learn_secrets(self) -> None:
        """See Subject. Tokens of agents that do not run are nowhere any more."""
        names = [agent.name for agent in self.instance.resolved_agents()]
        for token in await asyncio.gather(*map(self._token_of, names)):
            if token is not None:
                self._tokens[token.digest()] = token

    async def _token_of(self, name: str) -> SecretValue | None:
        path = str(HANDOVER / f"{name}.token")
        done = await self.machine.look("cat", path)
        if done.exit_status == 0 and done.stdout.strip():
            return SecretValue(done.stdout.decode().strip())
        if (await self.machine.look("test", "!", "-e", path)).exit_status == 0:
            return None
        raise MachineError("an agent's token cannot be read", where=f"{self.machine.name}: {path}")

    async def log_in(self, user_id: str) -> Person:
        """See Subject."""
        door = self.entrance or Entrance(self.homeserver_url, self.session)
        homeserver = MatrixSession(door.url, door.session)
        return await Person.log_in(homeserver, user_id, self.password(user_id).reveal())

    async def kill_agent(self, name: str, pid: int) -> Evidence:
        """See Subject. systemd starts again what fails, but not what ends by SIGTERM.

        Raises:
            MachineError: the unit's main process is another one.
        """
        unit = naming.agent_unit(name)
        seen = (await units.show(self.machine, [unit]))[unit]
        if seen.pid != pid:
            raise MachineError(f"its main process is {seen.pid}, not {pid}", where=unit)
        await run(self.machine, "systemctl", "kill", "--signal=SIGTERM", unit)
        return {"pid": pid, "signal": "SIGTERM", "means": f"systemctl kill {unit}"}

    async def observe(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """See Subject. Agents get what systemd says of their units beside what they say."""
        seen = await self.observer.ask(probe, told)
        if probe in _OF_AGENTS:
            return await with_units(self.machine, seen)
        if probe == "system.processes" and self.usage is not None:
            return {**seen, "machine": await self.usage()}
        return seen

    async def services(self) -> Mapping[str, int]:
        """See Subject."""
        seen = await units.show(self.machine, SERVICES.values())
        return {name: seen[unit].pid for name, unit in SERVICES.items()}


@contextlib.asynccontextmanager
async def reached(machine: Machine) -> AsyncIterator[tuple[str, str]]:
    """Forward a machine's homeserver and control plane; yields their base URLs."""
    ports = naming.SERVICE_PORTS
    async with (
        machine.forward(ports["synapse"]) as homeserver,
        machine.forward(ports["control"]) as control,
    ):
        yield f"http://127.0.0.1:{homeserver}", f"http://127.0.0.1:{control}"
