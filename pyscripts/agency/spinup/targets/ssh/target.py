"""The target `ssh` as a list of steps: look at a host that runs, talk to it only if told to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agency import naming
from agency.errors import AgencyError, InternalError
from agency.instance.model import ResolvedAgent
from agency.machine import units
from agency.machine.machine import MachineError
from agency.machine.ssh.machine import SshMachine
from agency.matrix import Person
from agency.quarantine import Quarantine
from agency.secrets.names import MATRIX_HS_TOKEN
from agency.secrets.values import SecretValue
from agency.spinup.examination import Examination
from agency.spinup.execute import Step
from agency.spinup.expected import Expected
from agency.spinup.probes import host as host_probes
from agency.spinup.program import this_program
from agency.spinup.record import Evidence, Recorder
from agency.spinup.remote.asking import Observer
from agency.spinup.remote.subject import RemoteSubject, reached
from agency.spinup.suite.runner import run_suite
from agency.spinup.target import Setting
from agency.spinup.targets.ssh import host, identity
from agency.spinup.targets.ssh.config import Wishes
from agency.transcript import CONTROL_UNIT, HOMESERVER_UNIT

_TALKING = (CONTROL_UNIT, HOMESERVER_UNIT)
_NOT_SEEN = Quarantine("none", "the host was not looked at")
_ONLINE = Quarantine("none", "a host with interfaces: nothing was tried")


@dataclass(slots=True)
class SshTarget:
    """One look at a host under way."""

    setting: Setting
    recorder: Recorder
    wishes: Wishes
    machine: SshMachine
    expected: Expected
    accounts: Mapping[str, SecretValue] = field(repr=False)
    known_secrets: list[SecretValue] = field(default_factory=list)
    network: Quarantine = field(default_factory=lambda: _NOT_SEEN)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _observer: Observer | None = None
    _ports: tuple[int, ...] = ()
    _secrets: dict[str, SecretValue] = field(default_factory=dict, repr=False)
    _examination: Examination | None = None

    kind = "ssh"

    @property
    def observer(self) -> Observer:
        """Who asks the host; there once the step `connect` is done."""
        if self._observer is None:
            raise InternalError("the host was asked before it was connected to")
        return self._observer

    @property
    def examination(self) -> Examination:
        """The examination; there once the step `probe` has reached the host's ports."""
        if self._examination is None:
            raise InternalError("the agency was examined before it could be reached")
        return self._examination

    def subjects(self) -> Mapping[str, Mapping[str, str]]:
        """Nothing was made, so there is nothing beside source and instance."""
        return {}

    def steps(self) -> tuple[Step, ...]:
        """The steps, in order; the conversation is left out where the host is only looked at."""
        return (
            ("connect", self._connect),
            ("quarantine", self._quarantine),
            ("probe", self._probe),
            ("scenario", None if self.wishes.read_only else self._scenario),
            ("isolation", self._isolation),
            ("records", self._records),
        )

    async def guard(self) -> None:
        """Return never; raise when the connection ends."""
        await self.machine.guard()

    async def _connect(self) -> None:
        await host.require_root(self.machine)
        observer = Observer(self.machine, await host.program(self.machine))
        self._observer = observer
        self._held.push_async_callback(observer.close)
        settings = await identity.settings_of(self.machine)
        program = await identity.program_of(observer)

        async def collect() -> Evidence:
            return {**await host.system(self.machine), **identity.evidence(settings, program)}

        await self.recorder.probe("host.system", collect)
        where, instance = self.machine.name, self.setting.loaded.instance
        identity.require_instance(settings, instance, where=where)
        identity.require_program(program, this_program(), where=where)

    async def _quarantine(self) -> None:
        seen = await self.recorder.probe(
            "quarantine.outbound", lambda: self.observer.ask("quarantine.outbound")
        )
        self.network = Quarantine("guest") if seen.get("mode") == "guest" else _ONLINE

    async def _probe(self) -> None:
        await self._units()
        hs_token = await host.secret(self.machine, MATRIX_HS_TOKEN)
        self._secrets[MATRIX_HS_TOKEN] = hs_token
        homeserver, control = await self._held.enter_async_context(reached(self.machine))
        self._ports = tuple(int(urlsplit(url).port or 0) for url in (homeserver, control))
        subject = RemoteSubject(
            machine=self.machine,
            observer=self.observer,
            instance=self.setting.loaded.instance,
            session=self.setting.session,
            homeserver_url=homeserver,
            control_url=control,
            secrets=self._secrets.__getitem__,
            known=self._known,
            password=self._password,
        )
        self._examination = Examination(self.recorder, subject)
        await self.examination.homeserver()
        await self.examination.readiness()
        if self.wishes.read_only:
            # The conversation takes it while agents run.
            await self.examination.processes()

    async def _units(self) -> None:
        roll = host.Roll((), ())

        async def collect() -> Evidence:
            nonlocal roll
            roll = await host.own_units(self.machine, self.expected)
            return {"units": [unit.as_dict() for unit in roll.shown], "ended": list(roll.ended)}

        await self.recorder.probe("units.state", collect)
        if roll.bad:
            raise await units.failure(self.machine, roll.bad)

    def _known(self) -> list[SecretValue]:
        return [*self._secrets.values(), *self.accounts.values()]

    def _password(self, user_id: str) -> SecretValue:
        if user_id not in self.accounts:
            raise InternalError(f"nobody gave the password of {user_id}")
        return self.accounts[user_id]

    async def _scenario(self) -> None:
        await self._nobody_works()
        try:
            await self.examination.gather()
            await self.examination.scenario()
        except AgencyError:
            lines = (await units.failure(self.machine, _TALKING)).log_tail
            self.recorder.log_tail = lambda: lines
            raise

    async def _nobody_works(self) -> None:
        """An agent at work is not stopped for a trial."""
        agents = [naming.agent_unit(agent.name) for agent in self._agents()]
        seen = await units.show(self.machine, agents)
        working = sorted(name for name, unit in seen.items() if unit.active != "inactive")
        if working:
            raise MachineError(
                f"at work: {', '.join(working)}",
                where=self.machine.name,
                hint="stop these agents first: the conversation starts and stops every agent",
            )

    def _agents(self) -> list[ResolvedAgent]:
        return list(self.setting.loaded.instance.resolved_agents())

    async def _isolation(self) -> None:
        await self.recorder.probe("suite.host", self._suite)

    async def _suite(self) -> Evidence:
        where, environment = self.machine.suite_host()
        directory = self.setting.directory
        findings = await run_suite(
            where,
            environment,
            self.wishes.suite,
            directory.path,
            marker=directory.run,
            timeout_s=self.wishes.suite_timeout_s,
            uids={agent.name: agent.uid for agent in self._agents()},
            read_only=self.wishes.read_only,
        )
        return {"readOnly": self.wishes.read_only, **findings.as_dict()}

    async def _records(self) -> None:
        await self.examination.records()
        if not self.wishes.read_only:
            await self.examination.secrets_left()

    async def stop(self) -> None:
        """End the connection and remove what is on this side; look whether anything is left."""
        with self.recorder.step("teardown"):
            try:
                await self._learn_secrets()
            finally:
                await self._take_leave()

    async def _take_leave(self) -> None:
        try:
            await self._leave()
        finally:
            await self._close()
        directory = self.setting.directory

        async def clean() -> Evidence:
            return host_probes.teardown(directory.run, self._ports, directory.path)

        await self.recorder.probe("teardown.clean", clean)

    async def _close(self) -> None:
        try:
            await self._held.aclose()
        finally:
            await self.machine.close()
            self.setting.secrets.close()
            self.setting.directory.remove()

    async def _leave(self) -> None:
        """Those who logged in log out again, and the outsider leaves the room."""
        seen = self._examination
        if seen is None or seen.operator is None:
            return
        people: list[Person] = [seen.operator]
        if seen.talk is not None:
            people.append(seen.talk.outsider)
            await seen.talk.outsider.leave(seen.talk.room)
        for person in people:
            await person.log_out()

    async def _learn_secrets(self) -> None:
        """Note what must not be in the transcript; what a host does not tell is a failure."""
        self.known_secrets = self._known()
        if self._examination is None or self.wishes.read_only:
            return  # nobody logged in, and no agent was started
        self.known_secrets = self._examination.known_secrets()
        self.known_secrets = await self._examination.all_secrets()
