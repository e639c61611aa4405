"""The target `local` as a list of steps: make, observe, talk, stop, clean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency import naming
from agency.children import processes_with_marker
from agency.clock import new_id
from agency.control.runtimes.process import token_file
from agency.errors import InternalError
from agency.instance.model import Instance
from agency.secrets.providers import SecretProvider
from agency.secrets.redact import Redactor
from agency.secrets.values import SecretValue
from agency.spinup import quarantine
from agency.spinup.local.agency import CONTROL, HOMESERVER, LocalAgency
from agency.spinup.local.rundir import RunDirectory
from agency.spinup.local.supervisor import Supervisor
from agency.spinup.person import Event, Person
from agency.spinup.probes import agents as agent_probes
from agency.spinup.probes import control as control_probes
from agency.spinup.probes import homeserver as homeserver_probes
from agency.spinup.probes import host as host_probes
from agency.spinup.probes import records, secrecy
from agency.spinup.scenario import Conversation, Witness
from agency.spinup.steps import Evidence, Recorder

OUTSIDER = "visitor"
_LOG_LINES, _LOG_BYTES = 10, 8 * 1024

Step = tuple[str, Callable[[], Awaitable[None]]]


def _by_seniority(instance: Instance) -> tuple[str, ...]:
    """The agents' names; who plans the work comes before who does it."""
    agents = sorted(instance.resolved_agents(), key=lambda agent: (agent.role != "pm", agent.name))
    return tuple(agent.name for agent in agents)


@dataclass(slots=True)
class LocalTarget:
    """One local spin-up under way."""

    recorder: Recorder
    network: quarantine.Quarantine
    prepare: Callable[[], LocalAgency]
    run: RunDirectory
    secrets: SecretProvider
    supervisor: Supervisor
    known_secrets: list[SecretValue] = field(default_factory=list)
    _agency: LocalAgency | None = None
    _operator: Person | None = None
    _talk: Conversation | None = None
    _tokens: dict[str, SecretValue] = field(default_factory=dict)
    _pids: dict[str, int] = field(default_factory=dict)

    kind = "local"

    @property
    def agency(self) -> LocalAgency:
        """The agency; there once the step `install` has begun its work."""
        if self._agency is None:
            raise InternalError("the agency was used before it was prepared")
        return self._agency

    def steps(self) -> tuple[Step, ...]:
        """The steps, in order; each may rely on those before it."""
        return (
            ("quarantine", self._quarantine),
            ("install", self._install),
            ("homeserver", self._homeserver),
            ("accounts", self._accounts),
            ("control", self._control),
            ("probe", self._probe),
            ("scenario", self._scenario),
            ("records", self._records),
        )

    async def guard(self) -> None:
        """Return never; raise as soon as a service ends that should run."""
        await self.supervisor.watch()

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of every log of this run, each with the name of whose it is."""
        lines: list[str] = []
        for path in sorted(self.run.path.rglob("log")) + sorted(self.run.logs.glob("*.log")):
            owner = path.stem if path.suffix else path.parent.name
            text = path.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
            lines += [f"{owner}: {line}" for line in text.splitlines()[-_LOG_LINES:]]
        return tuple(lines)

    async def _quarantine(self) -> None:
        await self._observe("quarantine.outbound", lambda: host_probes.outbound(self.network))

    async def _observe(self, name: str, look: Callable[[], Evidence]) -> Evidence:
        async def collect() -> Evidence:
            return await asyncio.to_thread(look)

        return await self.recorder.probe(name, collect)

    async def _install(self) -> None:
        self.recorder.log_tail = self.log_tail
        self._agency = self.prepare()
        self.agency.install()

    async def _homeserver(self) -> None:
        child = await self.agency.start_homeserver()
        url, session = self.agency.homeserver_url, self.agency.session
        seen = await self.recorder.probe(
            "homeserver.versions", lambda: homeserver_probes.versions(session, url)
        )
        self.recorder.versions["synapse"] = str(seen.get("serverVersion", ""))
        await self._observe("homeserver.process", lambda: homeserver_probes.process(child.pid))

    async def _accounts(self) -> None:
        await self.agency.create_people(OUTSIDER)

    async def _control(self) -> None:
        await self.agency.start_control()

    async def _probe(self) -> None:
        agency, recorder = self.agency, self.recorder
        seen = await recorder.probe(
            "control.ready", lambda: control_probes.ready(agency.session, agency.control_url)
        )
        recorder.versions["schema"] = str(seen.get("schemaRevision", ""))
        token = agency.secrets.get("matrix-hs-token")
        await recorder.probe(
            "control.refuses-wrong-token",
            lambda: control_probes.refuses_wrong_token(agency.session, agency.control_url, token),
        )
        operator = await agency.log_in(agency.instance.operators[0])
        room = await operator.join(agency.control_room)
        await recorder.probe(
            "control.room", lambda: control_probes.room(operator, room, agency.control_room)
        )
        self._operator = operator
        self._talk = await self._gather_people(operator, room)

    async def _gather_people(self, operator: Person, room: str) -> Conversation:
        visitor_id = naming.matrix_id(OUTSIDER, self.agency.instance.domain)
        visitor = await self.agency.log_in(visitor_id)
        await operator.invite(room, visitor_id)
        await visitor.join(room)
        return Conversation(
            recorder=self.recorder,
            operator=operator,
            outsider=visitor,
            room=room,
            agents=_by_seniority(self.agency.instance),
            witness=self._witness(),
            new_txn=lambda: new_id("say"),
        )

    def _witness(self) -> Witness:
        agency = self.agency

        async def deliver(txn: str, events: list[Event]) -> int:
            token = agency.secrets.get("matrix-hs-token")
            return await control_probes.deliver(
                agency.session, agency.control_url, token, txn, events
            )

        async def agent_pid(name: str) -> int | None:
            ports = {name: agency.ports[naming.agent_localpart(name)]}
            seen = await agent_probes.health(agency.session, ports, {name: self._token_of(name)})
            pid = seen["agents"][0]["pid"]
            return int(pid) if pid is not None else None

        return Witness(
            audit_count=lambda: records.audit_count(agency.database),
            audit_outcome=lambda trace: records.audit_outcome(agency.database, trace),
            deliver=deliver,
            agent_pid=agent_pid,
        )

    def _token_of(self, name: str) -> SecretValue:
        directory = self.agency.control_config().state_dir
        path = token_file(directory, name)
        token = SecretValue(path.read_text().strip())
        self._tokens[f"{name} {token.digest()}"] = token
        return token

    async def _scenario(self) -> None:
        talk = self._talk
        assert talk is not None
        await talk.start_agents()
        await self.recorder.probe("agents.health", self._agents_health)
        await self.recorder.probe("scenario.refused", talk.refuse_outsider)
        await self.recorder.probe("scenario.replay", talk.replay)
        running = await self._agents_health()
        self._pids = {agent["name"]: agent["pid"] for agent in running["agents"]}
        await self._observe("system.processes", lambda: host_probes.processes(self._all_pids()))
        await self._observe("secrets.absent", self._search_secrets)
        await talk.stop_agents()
        await self._observe(
            "agents.stopped", lambda: agent_probes.stopped(self._agent_ports(), self._pids)
        )

        async def commands() -> Evidence:
            return talk.command_evidence()

        await self.recorder.probe("scenario.commands", commands)

    def _agent_ports(self) -> dict[str, int]:
        return {
            agent.name: self.agency.ports[naming.agent_localpart(agent.name)]
            for agent in self.agency.instance.resolved_agents()
        }

    async def _agents_health(self) -> Evidence:
        ports = self._agent_ports()
        tokens = {name: self._token_of(name) for name in ports}
        return await agent_probes.health(self.agency.session, ports, tokens)

    def _all_pids(self) -> dict[str, int]:
        services = {name: child.pid for name, child in self.agency.supervisor.children().items()}
        return {**services, **{naming.agent_localpart(n): p for n, p in self._pids.items()}}

    def _secret_values(self) -> list[SecretValue]:
        """Every secret that this run has had so far."""
        own = [self.secrets.get(name) for name in self.secrets.names()]
        people = [self._operator.access_token] if self._operator else []
        return [*own, *people, *self._tokens.values()]

    def _search_secrets(self) -> Evidence:
        run = self.run
        values = self._secret_values()
        files = [p for p in run.logs.rglob("*") if p.is_file()]
        files += list((run.path / HOMESERVER).glob("*.yaml"))
        files += [p for p in (run.path / CONTROL).glob("control*") if p.is_file()]
        files += list((run.path / CONTROL).rglob("*.log"))
        return secrecy.search(
            Redactor(values),
            len(values),
            files=files,
            pids=processes_with_marker(run.run),
            texts=[str(probe.evidence) for probe in self.recorder.probes],
        )

    async def _records(self) -> None:
        database = self.agency.database
        await self._observe("store.schema", lambda: records.schema(database))
        await self._observe("audit.chain", lambda: records.chain(database))

    async def stop(self) -> None:
        """Stop what runs, remove what was written, and look whether anything is left."""
        with self.recorder.step("teardown"):
            self.known_secrets = self._secret_values()
            ports = tuple(self._agency.ports.values()) if self._agency is not None else ()
            try:
                if self._agency is not None:
                    await self._agency.supervisor.stop_all()
            finally:
                self.secrets.close()
                self.run.remove()
            await self._observe(
                "teardown.clean", lambda: host_probes.teardown(self.run.run, ports, self.run.path)
            )
