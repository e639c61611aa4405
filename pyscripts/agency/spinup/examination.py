"""Examination of an agency that runs, on whatever machine: probes, and the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from agency import naming
from agency.clock import new_id
from agency.errors import AgencyError
from agency.instance import Instance, LoadedInstance
from agency.matrix import Person
from agency.secrets import MATRIX_HS_TOKEN, SecretValue
from agency.spinup.probes import control as control_probes
from agency.spinup.probes import homeserver as homeserver_probes
from agency.spinup.probes.probe import Moment, taken_at
from agency.spinup.probes.secrecy import Sought, joined, search_texts
from agency.spinup.record import Evidence, Recorder, describe
from agency.spinup.scenario.conversation import Conversation, Witness
from agency.spinup.scenario.secret import room_texts
from agency.spinup.scenario.trial import Trial
from agency.spinup.shop.look import Shop

OUTSIDER = "visitor"
_COLLECT_S = 15.0


class UnknownSecretsError(AgencyError):
    """Not every secret of the run is known, so what was recorded may hold one."""


class Subject(Protocol):
    """An agency that runs: how it is reached, and what can be seen of it from its machine."""

    session: aiohttp.ClientSession

    @property
    def instance(self) -> Instance:
        """The instance that runs."""

    @property
    def homeserver_url(self) -> str:
        """The base URL of the homeserver's client API, as reached from here."""

    @property
    def control_url(self) -> str:
        """The base URL of the control plane, as reached from here."""

    @property
    def control_room(self) -> str:
        """The alias of the control room."""

    def secret(self, name: str) -> SecretValue:
        """One of the agency's secrets."""

    def known_secrets(self) -> Sequence[SecretValue]:
        """Every secret of the agency, and every token of an agent that was ever learned."""

    async def learn_secrets(self) -> None:
        """Take note of the tokens of the agents that run: they end with the agents.

        Raises:
            AgencyError: one cannot be read.
        """

    @property
    def approvers(self) -> Sequence[str]:
        """Those who approve what the first operator asks for: as many as must, or nobody."""

    async def log_in(self, user_id: str) -> Person:
        """Log a person in."""

    async def kill_agent(self, name: str, pid: int) -> Evidence:
        """End an agent's process by the means of its machine; evidence: `signal` and `means`."""

    async def observe(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """Run a probe on the machine of the agency.

        Raises:
            AgencyError: it cannot look.
        """

    async def services(self) -> Mapping[str, int]:
        """Find the pids of the agency's services, by their names."""


def by_seniority(instance: Instance) -> tuple[str, ...]:
    """List the agents' names; planners come before developers."""
    workers = [each for each in instance.resolved_agents() if not instance.agents[each.name].spare]
    agents = sorted(workers, key=lambda agent: (agent.role != "pm", agent.name))
    return tuple(agent.name for agent in agents)


@dataclass(slots=True)
class Examination:
    """One agency being examined. The parts are called in the order in which they stand here."""

    recorder: Recorder
    subject: Subject
    pids: dict[str, int] = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)  # who logged in; the operator first
    issued: list[SecretValue] = field(default_factory=list, repr=False)  # made meanwhile
    searched: Evidence = field(default_factory=dict)  # by secrets.absent
    shop: Shop | None = None  # of a machine with services of its own

    async def homeserver(self) -> None:
        """See that the homeserver answers, and its process."""
        subject = self.subject
        seen = await self.recorder.probe(
            "homeserver.versions",
            lambda: homeserver_probes.versions(subject.session, subject.homeserver_url),
        )
        self.recorder.versions["synapse"] = str(seen.get("serverVersion", ""))

        async def process() -> Evidence:
            pid = (await subject.services())["homeserver"]
            return await subject.observe("homeserver.process", {"pid": pid})

        await self.recorder.probe("homeserver.process", process)

    async def control(self) -> Conversation:
        """See that the control plane is ready and well guarded; gather people in its room."""
        await self.readiness()
        return await self.gather()

    async def readiness(self) -> None:
        """See that the control plane is ready and well guarded; nothing is changed by it."""
        subject, recorder = self.subject, self.recorder
        token = subject.secret(MATRIX_HS_TOKEN)
        seen = await recorder.probe(
            "control.ready",
            lambda: control_probes.ready(subject.session, subject.control_url, token),
        )
        recorder.versions["schema"] = str(seen.get("schemaRevision", ""))
        await recorder.probe(
            "control.refuses-wrong-token",
            lambda: control_probes.refuses_wrong_token(subject.session, subject.control_url, token),
        )

    async def gather(self) -> Conversation:
        """Have people log in and come into the control room, for the conversation."""
        subject, recorder = self.subject, self.recorder
        visitor_id = naming.matrix_id(OUTSIDER, subject.instance.domain)
        ids = (subject.instance.operators[0], visitor_id, *subject.approvers)
        operator, visitor, *approvers = await asyncio.gather(*map(self._log_in, ids))
        self.people.sort(key=lambda who: ids.index(who.user_id))  # whoever was faster
        room = await operator.join(subject.control_room)
        await recorder.probe(
            "control.room", lambda: control_probes.room(operator, room, subject.control_room)
        )
        await operator.invite(room, visitor_id)
        await asyncio.gather(*(who.join(subject.control_room) for who in (visitor, *approvers)))
        return Conversation(
            recorder=recorder,
            operator=operator,
            outsider=visitor,
            approvers=tuple(approvers),
            room=room,
            agents=by_seniority(subject.instance),
            witness=await self._witness(),
            new_txn=lambda: new_id("say"),
        )

    async def _log_in(self, user_id: str) -> Person:
        person = await self.subject.log_in(user_id)
        self.people.append(person)
        return person

    async def _witness(self) -> Witness:
        subject = self.subject

        async def deliver(txn: str, events: list[dict[str, Any]]) -> int:
            token = subject.secret(MATRIX_HS_TOKEN)
            return await control_probes.deliver(
                subject.session, subject.control_url, token, txn, events
            )

        async def audit_count() -> int:
            return int((await subject.observe("audit.count"))["count"])

        async def audit_outcome(trace: str) -> str | None:
            outcome = (await subject.observe("audit.outcome", {"trace": trace}))["outcome"]
            return None if outcome is None else str(outcome)

        return Witness(
            audit_count=audit_count,
            audit_outcome=audit_outcome,
            deliver=deliver,
            agent_pid=self._agent_pid,
            observe=subject.observe,
            kill=subject.kill_agent,
            session=subject.session,
            control_url=subject.control_url,
            clock=self.recorder.clock,
            begun=await audit_count(),
        )

    async def _agent_pid(self, name: str) -> int | None:
        seen = await self.subject.observe("agents.health")
        found = {agent["name"]: agent["pid"] for agent in seen["agents"]}
        pid = found.get(name)
        return int(pid) if pid is not None else None

    async def scenario(self, talk: Conversation) -> None:
        """Hold the conversation, and look at what it does to the agents."""
        recorder, subject = self.recorder, self.subject
        trial = Trial(talk)
        self.issued.append(trial.secret.value)
        await talk.start_agents(trial.begin)
        await subject.learn_secrets()
        await self._take("agents.health")
        await recorder.probe("scenario.refused", talk.refuse_outsider)
        restart = await talk.begin_restart()
        await trial.deliver()
        await recorder.probe("scenario.replay", lambda: talk.replay(restart))
        await subject.learn_secrets()  # of an agent that was started again
        await trial.hold()
        await subject.learn_secrets()
        await recorder.probe("approval.granted", trial.approval.evidence)
        await recorder.probe("agent.respawned", trial.respawn.evidence)
        running = await subject.observe("agents.health")
        self.pids = {agent["name"]: agent["pid"] for agent in running["agents"]}
        await self.processes()
        await self.metrics(self._started)
        await recorder.probe("secrets.absent", lambda: self._search_after(talk, trial.secret.mark))
        await recorder.probe("secret.delivered", lambda: trial.secret.evidence(self.searched))
        await talk.stop_agents()
        await self._take("agents.stopped", {"pids": self.pids})

        async def commands() -> Evidence:
            return talk.command_evidence()

        await recorder.probe("scenario.commands", commands)

    async def _take(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """Record the evidence of a probe under its own name."""
        return await self.recorder.probe(probe, lambda: self.subject.observe(probe, told))

    async def processes(self) -> None:
        """See the processes of the agency, with those of the agents that are known."""

        async def collect() -> Evidence:
            workers = {naming.agent_localpart(name): pid for name, pid in self.pids.items()}
            pids = {**await self.subject.services(), **workers}
            return await self.subject.observe("system.processes", {"pids": pids})

        await self.recorder.probe("system.processes", collect)

    async def services(
        self, loaded: LoadedInstance, simulated: frozenset[str] = frozenset()
    ) -> None:
        """See which services of the instance the machine has, and what each shows.

        `simulated` are the probes of what stand-ins of programs have made.
        """
        self.shop = Shop(self.recorder, self.subject.observe, loaded, simulated)
        await self.shop.look()

    async def metrics(self, working: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """See the numbers of agents that work, on a machine that keeps some."""
        if self.shop is not None:
            await self.shop.metrics(working)

    @property
    def owner(self) -> dict[str, str]:
        """The instance that runs, as evidence names it."""
        return {"name": self.subject.instance.name, "domain": self.subject.instance.domain}

    async def _started(self) -> Sequence[str]:
        return sorted(self.pids)

    def known_secrets(self) -> list[SecretValue]:
        """Every secret that this run is known to have had so far."""
        people = (SecretValue(person.access_token) for person in self.people)
        return [*self.subject.known_secrets(), *people, *self.issued]

    async def all_secrets(self) -> list[SecretValue]:
        """Every secret that this run has had, in whatever state it has left the agency.

        Raises:
            UnknownSecretsError: the agency does not tell the tokens that its agents have now.
        """
        try:
            async with asyncio.timeout(_COLLECT_S):
                await self.subject.learn_secrets()
        except (AgencyError, OSError) as error:
            late = isinstance(error, TimeoutError)
            reason = f"no answer within {_COLLECT_S:g} s" if late else describe(error)
            raise UnknownSecretsError(
                f"what was recorded may hold a token of an agent that is not known: {reason}",
                where="redaction",
            ) from error
        return self.known_secrets()

    async def secrets_left(self) -> None:
        """Search once more, at the end of all that is done to the agency."""
        await self.recorder.probe("secrets.left", self._search_secrets)

    async def _search_after(self, talk: Conversation, planted: str) -> Evidence:
        """Search for every secret, and for what was planted, in the rooms too."""
        texts = await room_texts(talk.operator, await talk.first_ts())
        seen = await self._search_secrets(planted, texts)
        self.searched = {**seen, "roomEvents": len(texts)}
        return self.searched

    async def _search_secrets(self, planted: str = "", room: Sequence[str] = ()) -> Evidence:
        values = await self.all_secrets()
        texts = [str(probe.evidence) for probe in self.recorder.probes]
        texts += [str(exchange) for exchange in self.recorder.scenario]
        told = {"values": [value.reveal() for value in values], "planted": planted}
        seen = await self.subject.observe("secrets.search", told)
        sought = Sought.of(values, planted)
        seen = joined(seen, search_texts(sought, texts, "evidence"))
        return joined(seen, search_texts(sought, room, "room"))

    async def records(self) -> None:
        """Look at the store and its audit log."""
        for name in taken_at(Moment.RECORDS):
            await self._take(name)
