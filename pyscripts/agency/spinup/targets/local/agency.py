"""The agency as child processes: a homeserver, accounts for people, and the control plane."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from agency import naming, ports
from agency.children import Child, ChildSpec
from agency.control import AgentEntry, ControlConfig
from agency.errors import UsageError
from agency.files import write_atomically
from agency.instance import Instance, registration
from agency.matrix import MatrixSession, Person
from agency.ports import LOOPBACK
from agency.rundir import RunDirectory
from agency.secrets import (
    MATRIX_AS_TOKEN,
    MATRIX_HS_TOKEN,
    MATRIX_REGISTRATION_SHARED_SECRET,
    OPERATOR_PASSWORD,
    SecretProvider,
    SecretValue,
)
from agency.spinup.scenario.accounts import create_people
from agency.spinup.targets.local import synapse
from agency.spinup.targets.local.supervisor import Service, Supervisor

HOMESERVER = "homeserver"
CONTROL = "control"
_CONTROL_SECRETS = (MATRIX_AS_TOKEN, MATRIX_HS_TOKEN)


def port_names(instance: Instance) -> tuple[str, ...]:
    """What needs a port: the homeserver, the control plane, and each agent as `agent-NAME`."""
    agents = (naming.agent_localpart(agent.name) for agent in instance.resolved_agents())
    return (HOMESERVER, CONTROL, *agents)


def usual_ports(instance: Instance) -> dict[str, int]:
    """The ports of a machine that the agency has to itself."""
    ports = {HOMESERVER: naming.SERVICE_PORTS["synapse"], CONTROL: naming.SERVICE_PORTS["control"]}
    for agent in instance.resolved_agents():
        ports[naming.agent_localpart(agent.name)] = agent.port
    return ports


def check_port_names(instance: Instance, pinned: Iterable[str]) -> None:
    """Refuse to pin the port of something that this instance does not have.

    Raises:
        UsageError: an unknown name.
    """
    known = port_names(instance)
    for name in pinned:
        if name not in known:
            raise UsageError(
                f"nothing named {name!r} needs a port", hint=f"use one of: {', '.join(known)}"
            )


def assign_ports(instance: Instance, wanted: Mapping[str, int]) -> dict[str, int]:
    """Choose the ports of an agency: those that are wanted, and free ones.

    Raises:
        PrerequisiteError: a wanted port is taken.
    """
    return ports.assign(port_names(instance), wanted)


@dataclass(slots=True)
class LocalAgency:
    """One local agency: what it is made of and where it lives."""

    instance: Instance
    run: RunDirectory
    secrets: SecretProvider
    ports: dict[str, int]
    session: aiohttp.ClientSession
    supervisor: Supervisor
    extra_registrations: list[Path] = field(default_factory=list)
    _credentials: dict[str, Path] = field(default_factory=dict)

    @property
    def homeserver_url(self) -> str:
        """The client-server API's base URL."""
        return f"http://{LOOPBACK}:{self.ports[HOMESERVER]}"

    @property
    def control_url(self) -> str:
        """The control plane's base URL."""
        return f"http://{LOOPBACK}:{self.ports[CONTROL]}"

    @property
    def database(self) -> Path:
        """The control plane's SQLite file."""
        return self.run.path / CONTROL / "control.db"

    @property
    def control_room(self) -> str:
        """The alias of the control room."""
        return naming.control_room_alias(self.instance.domain)

    @property
    def bot_id(self) -> str:
        """The control plane's Matrix id."""
        return naming.matrix_id(naming.CONTROL_LOCALPART, self.instance.domain)

    def _environment(self, **extra: str) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.run.path),
            "LANG": "C.UTF-8",
            **extra,
        }

    def _registration_file(self) -> Path:
        return self.run.credentials / "appservice-registration.yaml"

    def install(self) -> None:
        """Write what the services read: registration, configuration and credentials."""
        content = registration(
            self.instance,
            url=self.control_url,
            as_token=self.secrets.get(MATRIX_AS_TOKEN).reveal(),
            hs_token=self.secrets.get(MATRIX_HS_TOKEN).reveal(),
        )
        write_atomically(self._registration_file(), content, mode=0o600)
        self._credentials = {
            HOMESERVER: self.secrets.credentials(synapse.secret_names()),
            CONTROL: self.secrets.credentials(_CONTROL_SECRETS),
        }
        (self.run.path / CONTROL).mkdir(mode=0o700, exist_ok=True)
        config = self.control_config().model_dump_json(indent=2).encode()
        write_atomically(self._control_config_file(), config)

    def credentials_of(self, service: str) -> Path:
        """The directory that is a service's $CREDENTIALS_DIRECTORY; there once installed."""
        return self._credentials[service]

    def _control_config_file(self) -> Path:
        return self.run.path / CONTROL / "control.json"

    def control_config(self) -> ControlConfig:
        """What this agency's control plane is told."""
        return ControlConfig(
            instance=self.instance.name,
            domain=self.instance.domain,
            homeserver_url=self.homeserver_url,
            listen_host=LOOPBACK,
            listen_port=self.ports[CONTROL],
            bot_id=self.bot_id,
            control_room_alias=self.control_room,
            operators=tuple(self.instance.operators),
            agents=tuple(
                AgentEntry(
                    name=agent.name,
                    role=agent.role,
                    matrix_id=agent.matrix_id,
                    port=self.ports[naming.agent_localpart(agent.name)],
                )
                for agent in self.instance.resolved_agents()
            ),
            database_url=f"sqlite+aiosqlite:///{self.database}",
            state_dir=self.run.path / CONTROL,
            runtime="process",
        )

    async def start_homeserver(self) -> Child:
        """Start Synapse and wait until it answers."""
        plan = synapse.SynapsePlan(
            domain=self.instance.domain,
            port=self.ports[HOMESERVER],
            data=self.run.path / HOMESERVER,
            credentials=self.credentials_of(HOMESERVER),
            registrations=(self._registration_file(), *self.extra_registrations),
        )
        spec = ChildSpec(
            name=HOMESERVER,
            argv=tuple(synapse.install(plan)),
            env=self._environment(),
            cwd=plan.data,
            log_path=self.run.logs / f"{HOMESERVER}.log",
        )
        return await self.supervisor.start(
            Service(spec, lambda: self._answers(f"{plan.url}/health"), ready_timeout_s=60)
        )

    async def launch_control(self) -> Child:
        """Start the control plane, which waits for the homeserver by itself.

        Launched before the homeserver is ready, it does at the same time what needs none.
        """
        spec = ChildSpec(
            name=CONTROL,
            argv=(
                *(sys.executable, "-m", "agency", "control", "run"),
                *("--config", str(self._control_config_file())),
            ),
            env=self._environment(CREDENTIALS_DIRECTORY=str(self.credentials_of(CONTROL))),
            cwd=self.run.path / CONTROL,
            log_path=self.run.logs / f"{CONTROL}.log",
        )
        return await self.supervisor.launch(
            Service(spec, lambda: self._answers(f"{self.control_url}/ready"), ready_timeout_s=60)
        )

    async def control_ready(self) -> Child:
        """Wait until the control plane that was launched says that it is ready."""
        return await self.supervisor.ready(CONTROL)

    async def _answers(self, url: str) -> bool:
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            async with self.session.get(url, timeout=timeout) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def create_people(self, outsider: str | None = None) -> None:
        """Register people, all with the run's own password; see `accounts.create_people`."""
        await create_people(
            self.session,
            self.homeserver_url,
            self.instance,
            password=self.password,
            shared_secret=self.secrets.get(MATRIX_REGISTRATION_SHARED_SECRET),
            outsider=outsider,
        )

    @property
    def password(self) -> SecretValue:
        """The password of every account that `create_people` made."""
        return self.secrets.get(OPERATOR_PASSWORD)

    async def log_in(self, user_id: str) -> Person:
        """Log a person in."""
        homeserver = MatrixSession(self.homeserver_url, self.session)
        return await Person.log_in(homeserver, user_id, self.password.reveal())
