"""A local agency as the examination sees it: everything is on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from agency import naming
from agency.children import processes_with_marker
from agency.control import token_file
from agency.instance import Instance
from agency.matrix import Person
from agency.secrets import SecretValue
from agency.spinup.probes.probe import run
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
        self.tokens()

    async def log_in(self, user_id: str) -> Person:
        """See Subject."""
        return await self.agency.log_in(user_id)

    def _token_of(self, name: str) -> SecretValue | None:
        path = token_file(self.agency.control_config().state_dir, name)
        try:
            token = SecretValue(path.read_text().strip())
        except (FileNotFoundError, NotADirectoryError):
            return None  # it does not run
        self._tokens[f"{name} {token.digest()}"] = token
        return token

    async def observe(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """See Subject."""
        return await run(self, probe, told or {})

    async def services(self) -> Mapping[str, int]:
        """See Subject."""
        return {name: child.pid for name, child in self.agency.supervisor.children().items()}

    @property
    def ports(self) -> dict[str, int]:
        """See Here."""
        return {
            agent.name: self.agency.ports[naming.agent_localpart(agent.name)]
            for agent in self.instance.resolved_agents()
        }

    @property
    def database(self) -> Path:
        """See Here."""
        return self.agency.database

    @property
    def journal(self) -> tuple[str, ...]:
        """See Here: the logs of a local agency are files."""
        return ()

    def tokens(self) -> dict[str, SecretValue]:
        """See Here."""
        return {name: token for name in self.ports if (token := self._token_of(name))}

    def files(self) -> list[Path]:
        """See Here."""
        run = self.agency.run
        files = [p for p in run.logs.rglob("*") if p.is_file()]
        files += list((run.path / HOMESERVER).glob("*.yaml"))
        files += [p for p in (run.path / CONTROL).glob("control*") if p.is_file()]
        return files + list((run.path / CONTROL).rglob("*.log"))

    def pids(self) -> list[int]:
        """See Here."""
        return list(processes_with_marker(self.agency.run.run))
