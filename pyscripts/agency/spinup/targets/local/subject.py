"""A local agency as the examination sees it: everything is on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from agency import naming
from agency.children import processes_with_marker
from agency.control.runtimes.process import token_file
from agency.instance.model import Instance
from agency.matrix import Person
from agency.secrets.values import SecretValue
from agency.spinup.probes import agents as agent_probes
from agency.spinup.probes import homeserver as homeserver_probes
from agency.spinup.probes import host as host_probes
from agency.spinup.probes import records, secrecy
from agency.spinup.record import Evidence
from agency.spinup.targets.local.agency import CONTROL, HOMESERVER, LocalAgency


@dataclass(slots=True)
class LocalSubject:
    """An agency of child processes."""

    agency: LocalAgency
    session: aiohttp.ClientSession
    _tokens: dict[str, SecretValue] = field(default_factory=dict)

    @property
    def instance(self) -> Instance:
        """See Subject."""
        return self.agency.instance

    @property
    def homeserver_url(self) -> str:
        """See Subject."""
        return self.agency.homeserver_url

    @property
    def control_url(self) -> str:
        """See Subject."""
        return self.agency.control_url

    @property
    def control_room(self) -> str:
        """See Subject."""
        return self.agency.control_room

    def secret(self, name: str) -> SecretValue:
        """See Subject."""
        return self.agency.secrets.get(name)

    def known_secrets(self) -> list[SecretValue]:
        """See Subject."""
        secrets = self.agency.secrets
        return [*(secrets.get(name) for name in secrets.names()), *self._tokens.values()]

    async def learn_secrets(self) -> None:
        """See Subject."""
        for name in self._ports():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it does not run
                self._token_of(name)

    async def log_in(self, user_id: str) -> Person:
        """See Subject."""
        return await self.agency.log_in(user_id)

    async def homeserver_process(self) -> Evidence:
        """See Subject."""
        pid = self.agency.supervisor.children()[HOMESERVER].pid
        return await asyncio.to_thread(homeserver_probes.process, pid)

    def _token_of(self, name: str) -> SecretValue:
        path = token_file(self.agency.control_config().state_dir, name)
        token = SecretValue(path.read_text().strip())
        self._tokens[f"{name} {token.digest()}"] = token
        return token

    def _ports(self) -> dict[str, int]:
        return {
            agent.name: self.agency.ports[naming.agent_localpart(agent.name)]
            for agent in self.instance.resolved_agents()
        }

    async def agents_health(self) -> Evidence:
        """See Subject."""
        ports = self._ports()
        tokens = {name: self._token_of(name) for name in ports}
        return await agent_probes.health(self.session, ports, tokens)

    async def agents_stopped(self, pids: Mapping[str, int]) -> Evidence:
        """See Subject."""
        return await _look(lambda: agent_probes.stopped(self._ports(), pids))

    async def processes(self, agents: Mapping[str, int]) -> Evidence:
        """See Subject."""
        services = {name: child.pid for name, child in self.agency.supervisor.children().items()}
        workers = {naming.agent_localpart(name): pid for name, pid in agents.items()}
        return await _look(lambda: host_probes.processes({**services, **workers}))

    async def audit_count(self) -> int:
        """See Subject."""
        return records.audit_count(self.agency.database)

    async def audit_outcome(self, trace: str) -> str | None:
        """See Subject."""
        return records.audit_outcome(self.agency.database, trace)

    async def audit_row(self, sequence: int) -> Evidence:
        """See Subject."""
        return records.audit_row(self.agency.database, sequence)

    async def schema(self) -> Evidence:
        """See Subject."""
        return await _look(lambda: records.schema(self.agency.database))

    async def chain(self) -> Evidence:
        """See Subject."""
        return await _look(lambda: records.chain(self.agency.database))

    async def search_secrets(self, values: Sequence[SecretValue], texts: Sequence[str]) -> Evidence:
        """See Subject."""
        run = self.agency.run
        files = [p for p in run.logs.rglob("*") if p.is_file()]
        files += list((run.path / HOMESERVER).glob("*.yaml"))
        files += [p for p in (run.path / CONTROL).glob("control*") if p.is_file()]
        files += list((run.path / CONTROL).rglob("*.log"))
        return await _look(
            lambda: secrecy.search(
                values,
                files=files,
                pids=processes_with_marker(run.run),
                texts=texts,
            )
        )


async def _look(collect: Callable[[], Evidence]) -> Evidence:
    return await asyncio.to_thread(collect)
