"""Agency of child processes: a homeserver, accounts for people, and the control plane."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp

from agency import naming
from agency.children import Child, ChildSpec, processes_with_marker
from agency.control import AgentEntry, Api, ControlConfig, token_file
from agency.files import write_atomically
from agency.instance import Instance, decision_settings, registration
from agency.listening import Held
from agency.matrix import MatrixSession, Person
from agency.ports import LOOPBACK
from agency.rundir import RunDirectory
from agency.secrets import (
    MATRIX_AS_TOKEN,
    MATRIX_HS_TOKEN,
    MATRIX_REGISTRATION_SHARED_SECRET,
    OPERATOR_PASSWORD,
    VAULT_MASTER_KEY,
    SecretProvider,
    SecretValue,
)
from agency.spinup.probes.probe import Identity
from agency.spinup.probes.probe import run as run_probe
from agency.spinup.record import Evidence
from agency.spinup.scenario.accounts import create_people
from agency.spinup.scenario.staging import stage
from agency.spinup.targets.local import models, synapse
from agency.spinup.targets.local.ports import CONTROL, CONTROL_API, HOMESERVER
from agency.spinup.targets.local.relay import Relay
from agency.spinup.targets.local.supervisor import Service, Supervisor, nothing

HOMESERVER_SOCKET = "homeserver.sock"
CONTROL_SECRETS = (MATRIX_AS_TOKEN, MATRIX_HS_TOKEN, VAULT_MASTER_KEY)


async def answers(session: aiohttp.ClientSession, url: str, timeout_s: float = 2) -> bool:
    """Return whether a service answers 200 in time."""
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with session.get(url, timeout=timeout) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@dataclass(slots=True)
class LocalAgency:
    """Agency of child processes: the Subject of an examination, and Here for its probes."""

    instance: Instance
    run: RunDirectory
    secrets: SecretProvider
    held: Held  # its ports, by the names of `usual_ports`
    session: aiohttp.ClientSession
    supervisor: Supervisor
    extra_registrations: list[Path] = field(default_factory=list)
    _tokens: dict[str, SecretValue] = field(default_factory=dict, repr=False)  # by digest
    _relay: Relay | None = None
    _services: dict[str, Service] = field(default_factory=dict)  # that were launched

    @property
    def assigned(self) -> Mapping[str, int]:
        """Its ports, by the names of `usual_ports`."""
        return self.held.numbers

    @property
    def homeserver_url(self) -> str:
        """Base URL of the homeserver's client API."""
        return f"http://{LOOPBACK}:{self.assigned[HOMESERVER]}"

    @property
    def control_url(self) -> str:
        """Base URL of the control plane."""
        return f"http://{LOOPBACK}:{self.assigned[CONTROL]}"

    @property
    def api_url(self) -> str | None:
        """Base URL of the HTTP interface for people's programs; None if it is not served."""
        port = self.assigned.get(CONTROL_API)
        return None if port is None else f"http://{LOOPBACK}:{port}"

    @property
    def database(self) -> Path:
        """SQLite file of the control plane."""
        return self.run.path / CONTROL / "control.db"

    @property
    def control_room(self) -> str:
        """Alias of the control room."""
        return naming.control_room_alias(self.instance.domain)

    @property
    def has_models(self) -> bool:
        """True if it has a metering proxy."""
        return models.MODELS in self.assigned

    def _service(
        self,
        name: str,
        argv: Iterable[str],
        health: str,
        *,
        descriptors: tuple[int, ...] = (),
        prepare: Callable[[], None] = nothing,
        **environment: str,
    ) -> Service:
        spec = ChildSpec(
            name=name,
            argv=tuple(argv),
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self.run.path),
                "LANG": "C.UTF-8",
                **environment,
            },
            cwd=self.run.path / name,
            log_path=self.run.logs / f"{name}.log",
            pass_fds=descriptors,
        )
        return Service(
            spec, lambda: answers(self.session, health), ready_timeout_s=60, prepare=prepare
        )

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
        control = self.run.path / CONTROL
        control.mkdir(mode=0o700, exist_ok=True)
        if (port := self.assigned.get(models.MODELS)) is not None:
            models.write_proxy_config(self.instance, self.run.path / models.MODELS, port, control)
        config = self.control_config().model_dump_json(indent=2).encode()
        write_atomically(self._control_config_file(), config)

    def _control_config_file(self) -> Path:
        return self.run.path / CONTROL / "control.json"

    def control_config(self) -> ControlConfig:
        """Make the settings of the control plane."""
        config = ControlConfig(
            instance=self.instance.name,
            domain=self.instance.domain,
            homeserver_url=self.homeserver_url,
            listen_host=LOOPBACK,
            listen_port=self.assigned[CONTROL],
            bot_id=naming.matrix_id(naming.CONTROL_LOCALPART, self.instance.domain),
            control_room_alias=self.control_room,
            operators=tuple(self.instance.operators),
            **decision_settings(self.instance),
            agents=tuple(
                AgentEntry(
                    name=agent.name,
                    role=agent.role,
                    matrix_id=agent.matrix_id,
                    port=self.ports[agent.name],
                    spare=self.instance.agents[agent.name].spare,
                )
                for agent in self.instance.resolved_agents()
            ),
            database_url=f"sqlite+aiosqlite:///{self.database}",
            state_dir=self.run.path / CONTROL,
            runtime="process",
            api=Api(listen_port=port) if (port := self.assigned.get(CONTROL_API)) else None,
        )
        return models.with_programs(config, self.instance, self.assigned.get(models.MODELS))

    async def start_homeserver(self) -> Child:
        """Start Synapse and wait until it answers."""
        await self.launch_homeserver()
        return await self.supervisor.ready(HOMESERVER)

    async def launch_homeserver(self) -> Child:
        """Start Synapse, the first time or again, behind the relay that answers on its port."""
        if HOMESERVER in self._services:
            return await self.supervisor.launch(self._services[HOMESERVER])
        plan = synapse.SynapsePlan(
            domain=self.instance.domain,
            port=self.assigned[HOMESERVER],
            data=self.run.path / HOMESERVER,
            credentials=self.secrets.credentials(synapse.SECRETS),
            registrations=(self._registration_file(), *self.extra_registrations),
            socket=HOMESERVER_SOCKET,
        )
        argv = synapse.install(plan)
        if self._relay is None:
            self._relay = Relay(self.held.sockets[HOMESERVER], plan.data / HOMESERVER_SOCKET)
            self._relay.start()
        prepare = partial(synapse.forget_socket, plan)
        service = self._service(HOMESERVER, argv, f"{plan.url}/health", prepare=prepare)
        self._services[HOMESERVER] = service
        return await self.supervisor.launch(service)

    async def launch_control(self) -> Child:
        """Start the control plane, the first time or again; it waits for the homeserver by itself.

        Launched before the homeserver is ready, it does at the same time what needs none.
        """
        if CONTROL in self._services:
            return await self.supervisor.launch(self._services[CONTROL])
        config = str(self._control_config_file())
        handed, descriptors = self.handed_to_control()
        argv = (sys.executable, "-m", "agency", "control", "run", "--config", config, *handed)
        credentials = str(self.secrets.credentials(CONTROL_SECRETS))
        ready = f"{self.control_url}/ready"
        service = self._service(
            CONTROL, argv, ready, descriptors=descriptors, CREDENTIALS_DIRECTORY=credentials
        )
        self._services[CONTROL] = service
        return await self.supervisor.launch(service)

    async def launch_models(self) -> Child:
        """Start the metering proxy, the first time or again; the instance must have models."""
        name = models.MODELS
        if name not in self._services:
            config = models.proxy_config_file(self.run.path / name)
            argv = models.proxy_argv(config, self.held.sockets[name].fileno())
            self._services[name] = self._service(
                name,
                argv,
                f"http://{LOOPBACK}:{self.assigned[name]}/live",
                descriptors=(self.held.sockets[name].fileno(),),
                CREDENTIALS_DIRECTORY=str(self.secrets.credentials(models.keys_of(self.instance))),
            )
        return await self.supervisor.launch(self._services[name])

    def handed_to_control(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """List what hands its port and its agents' to a control plane: options, descriptors."""
        sockets = self.held.sockets.items()
        descriptors = tuple(
            each.fileno() for name, each in sockets if name not in (HOMESERVER, models.MODELS)
        )
        return tuple(f"--listen-fd={number}" for number in descriptors), descriptors

    def close(self) -> None:
        """End the relay and let the ports go; the services must have ended."""
        if self._relay is not None:
            self._relay.close()
        self.held.close()

    async def control_ready(self) -> Child:
        """Wait until the control plane that was launched says that it is ready."""
        return await self.supervisor.ready(CONTROL)

    async def create_people(
        self, outsider: str | None = None, *, also: Iterable[str] = (), again: bool = False
    ) -> None:
        """Register the operators, an outsider where one is named, and others, with `password`.

        With `again`, those that have an account already are left alone.
        """
        await create_people(
            self.session,
            self.homeserver_url,
            self.instance,
            password=self.password,
            shared_secret=self.secrets.get(MATRIX_REGISTRATION_SHARED_SECRET),
            outsider=outsider,
            also=also,
            again=again,
        )

    @property
    def password(self) -> SecretValue:
        """Password of every account that `create_people` made."""
        return self.secrets.get(OPERATOR_PASSWORD)

    @property
    def approvers(self) -> tuple[str, ...]:
        """Those who approve what the first operator asks for."""
        return stage(self.instance).approvers

    async def kill_agent(self, name: str, pid: int) -> Evidence:  # noqa: ARG002 - a pid is enough
        """Kill the process of an agent."""
        os.kill(pid, signal.SIGKILL)
        return {"pid": pid, "signal": "SIGKILL", "means": "kill(2)"}

    async def log_in(self, user_id: str) -> Person:
        """Log a person in."""
        homeserver = MatrixSession(self.homeserver_url, self.session)
        return await Person.log_in(homeserver, user_id, self.password.reveal())

    def secret(self, name: str) -> SecretValue:
        """Read one of the agency's secrets."""
        return self.secrets.get(name)

    def known_secrets(self) -> list[SecretValue]:
        """List every secret of the agency, and the agents' tokens that were learned."""
        secrets = self.secrets
        return [*(secrets.get(name) for name in secrets.names()), *self._tokens.values()]

    async def learn_secrets(self) -> None:
        """Take note of the tokens of the agents that run, and of their programs."""
        self.tokens()
        for name, path in (
            (each, token_file(self.run.path / CONTROL, each)) for each in self.ports
        ):
            for token in models.program_tokens(path.parent.parent):
                self._tokens[f"{name} {token.digest()}"] = token

    async def observe(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """Run a probe in this process."""
        return await run_probe(self, probe, told or {})

    async def services(self) -> Mapping[str, int]:
        """Find the pids of the services, by their names."""
        return {name: child.pid for name, child in self.supervisor.children().items()}

    @property
    def identity(self) -> Identity:
        """The instance that runs."""
        return Identity(self.instance.name, self.instance.domain)

    @property
    def ports(self) -> dict[str, int]:
        """Port of every agent, by its name."""
        return {
            agent.name: self.assigned[naming.agent_localpart(agent.name)]
            for agent in self.instance.resolved_agents()
        }

    @property
    def journal(self) -> tuple[str, ...]:
        """Nothing: the logs of a local agency are files."""
        return ()

    def tokens(self) -> dict[str, SecretValue]:
        """Read the tokens of the agents that run, and take note of them."""
        found = {}
        for name in self.ports:
            path = token_file(self.run.path / CONTROL, name)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it does not run
                token = found[name] = SecretValue(path.read_text().strip())
                self._tokens[f"{name} {token.digest()}"] = token
        return found

    def files(self) -> list[Path]:
        """List the files in which a secret in plain text would be a leak."""
        run = self.run
        files = [p for p in run.logs.rglob("*") if p.is_file()]
        files += list((run.path / HOMESERVER).glob("*.yaml"))
        files += [p for p in (run.path / CONTROL).glob("control*") if p.is_file()]
        # Also those of agents, which are `agents/NAME/log`.
        logs = [*(run.path / CONTROL).rglob("*.log"), *(run.path / CONTROL).rglob("log*")]
        return files + [p for p in logs if p.is_file()]

    def pids(self) -> list[int]:
        """List the processes of the run."""
        return list(processes_with_marker(self.run.run))
