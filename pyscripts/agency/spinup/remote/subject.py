"""An agency on another machine as the examination sees it: by forwarded ports and by asking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from agency import naming
from agency.instance.model import Instance
from agency.machine import units
from agency.machine.machine import Machine, MachineError
from agency.secrets.redact import Redactor
from agency.secrets.values import SecretValue
from agency.spinup.observe import questions as asked
from agency.spinup.observe.answers import HANDOVER
from agency.spinup.record import Evidence
from agency.spinup.remote.agent_units import with_units
from agency.spinup.remote.asking import Observer
from agency.spinup.scenario.person import Person
from agency.transcript import HOMESERVER_UNIT, SERVICES


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
        return await Person.log_in(
            self.session, self.homeserver_url, user_id, self.password(user_id)
        )

    async def _ask(self, question: asked.Question) -> Evidence:
        return await self.observer.ask(question)

    async def homeserver_process(self) -> Evidence:
        """See Subject."""
        unit = (await units.show(self.machine, [HOMESERVER_UNIT]))[HOMESERVER_UNIT]
        return await self._ask(asked.Process(pid=unit.pid))

    async def agents_health(self) -> Evidence:
        """See Subject."""
        return await with_units(self.machine, await self._ask(asked.Health()))

    async def agents_stopped(self, pids: Mapping[str, int]) -> Evidence:
        """See Subject."""
        seen = await self._ask(asked.Stopped(pids=dict(pids)))
        return await with_units(self.machine, seen)

    async def processes(self, agents: Mapping[str, int]) -> Evidence:
        """See Subject."""
        seen = await units.show(self.machine, SERVICES.values())
        services = {name: seen[unit].pid for name, unit in SERVICES.items()}
        workers = {naming.agent_localpart(name): pid for name, pid in agents.items()}
        found = await self._ask(asked.Processes(pids={**services, **workers}))
        return found if self.usage is None else {**found, "machine": await self.usage()}

    async def audit_count(self) -> int:
        """See Subject."""
        return int((await self._ask(asked.AuditCount()))["count"])

    async def audit_outcome(self, trace: str) -> str | None:
        """See Subject."""
        outcome = (await self._ask(asked.AuditOutcome(trace=trace)))["outcome"]
        return None if outcome is None else str(outcome)

    async def audit_row(self, sequence: int) -> Evidence:
        """See Subject."""
        return await self._ask(asked.AuditRow(sequence=sequence))

    async def schema(self) -> Evidence:
        """See Subject."""
        return await self._ask(asked.Schema())

    async def chain(self) -> Evidence:
        """See Subject."""
        return await self._ask(asked.Chain())

    async def search_secrets(self, values: Sequence[SecretValue], texts: Sequence[str]) -> Evidence:
        """See Subject. The machine searches itself; the texts are ours and are searched here."""
        seen = await self.observer.ask_secrets(values)
        redactor = Redactor(values)
        ours = sum(bool(redactor.find(text)) for text in texts)
        places = {*seen["places"], *(["evidence"] if ours else [])}
        return {**seen, "findings": int(seen["findings"]) + ours, "places": sorted(places)}


@contextlib.asynccontextmanager
async def reached(machine: Machine) -> AsyncIterator[tuple[str, str]]:
    """The base URLs of a machine's homeserver and control plane, for the length of the block."""
    ports = naming.SERVICE_PORTS
    async with (
        machine.forward(ports["synapse"]) as homeserver,
        machine.forward(ports["control"]) as control,
    ):
        yield f"http://127.0.0.1:{homeserver}", f"http://127.0.0.1:{control}"
