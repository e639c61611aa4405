"""Target `ssh`: look at a host that runs, talk to it only if told to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from agency import naming
from agency.errors import AgencyError, InternalError
from agency.guests import load_start
from agency.instance import Instance
from agency.machine import MachineError, SshMachine, connected, units
from agency.quarantine import Quarantine
from agency.secrets import MATRIX_HS_TOKEN, SecretValue
from agency.source_digest import source_root
from agency.spinup.examination import Examination
from agency.spinup.expected import Expected, by_export
from agency.spinup.program import this_program
from agency.spinup.record import Evidence
from agency.spinup.remote.asking import Observer
from agency.spinup.remote.subject import RemoteSubject, reached
from agency.spinup.run import Run
from agency.spinup.scenario.conversation import Conversation
from agency.spinup.scenario.staging import colleagues, quorum
from agency.spinup.suite.requirements import require_suite
from agency.spinup.suite.runner import run_suite
from agency.spinup.target import Setting, hold_secrets
from agency.spinup.targets.ssh import host, identity
from agency.spinup.targets.ssh.accounts import load_accounts
from agency.spinup.targets.ssh.config import Config
from agency.transcript import CONTROL_UNIT, HOMESERVER_UNIT

_TALKING = (CONTROL_UNIT, HOMESERVER_UNIT)
_ONLINE = Quarantine("none", "a host with interfaces: nothing was tried")


@contextlib.asynccontextmanager
async def open_ssh(setting: Setting, config: Config) -> AsyncIterator[SshTarget]:
    """Connect to the host; nothing of the target has begun.

    Raises:
        PrerequisiteError: the host cannot be reached, or something is missing on this side.
        BadInputError: a file of passwords that is none.
    """
    require_suite(config.suite)
    portable = source_root() / "modules" / "portable"
    file, instance = config.password_file, setting.loaded.instance
    expected = by_export(portable, load_start(portable).units)
    accounts = {} if file is None else load_accounts(file, instance)
    async with connected(
        config.host,
        options=config.ssh_options,
        directory=setting.directory.path / "ssh",
        marker=setting.directory.run,
        timeout_s=config.connect_timeout_s,
    ) as machine:
        yield SshTarget(setting, config, machine, expected, accounts)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Examination of a host's agency; `accounts` are the speakers' passwords, by Matrix id."""

    setting: Setting
    config: Config
    machine: SshMachine
    expected: Expected
    accounts: Mapping[str, SecretValue] = field(repr=False)

    async def spin_up(self, run: Run) -> None:
        """Look at the host; leave out the conversation where it is only looked at."""
        machine, read_only = self.machine, self.config.read_only
        run.held.push(machine.close)
        run.watch(machine.guard())
        run.known_secrets += self.accounts.values()
        async with run.step("connect"):
            observer = await self._connect(run)
        async with run.step("quarantine"):
            seen = await run.probe(
                "quarantine.outbound", lambda: observer.ask("quarantine.outbound")
            )
            run.network = Quarantine("guest") if seen.get("mode") == "guest" else _ONLINE
        async with run.step("probe"):
            await self._units(run)
            examination = await self._reach(run, observer)
            await examination.homeserver()
            await examination.readiness()
            await examination.services(self.setting.loaded)
            if read_only:  # the conversation takes both while agents run
                await examination.processes()
                await examination.metrics(self._working)
        if read_only:
            run.skip("scenario")
        else:
            async with run.step("scenario"):
                await self._nobody_works()
                await self._talk(run, examination)
        async with run.step("isolation"):
            await run.probe("suite.host", self._suite)
        async with run.step("records"):
            await examination.records()
            if not read_only:
                await examination.secrets_left()

    @property
    def _instance(self) -> Instance:
        return self.setting.loaded.instance

    async def _connect(self, run: Run) -> Observer:
        machine, where = self.machine, self.machine.name
        await host.require_root(machine)
        observer = Observer(machine, await host.program(machine))
        run.held.push(observer.close)
        settings = await identity.settings_of(machine)
        program = await identity.program_of(observer)

        async def collect() -> Evidence:
            return {**await host.system(machine), **identity.evidence(settings, program)}

        await run.probe("host.system", collect)
        identity.require_instance(settings, self._instance, where=where)
        identity.require_program(program, this_program(), where=where)
        return observer

    async def _units(self, run: Run) -> None:
        roll = host.Roll((), ())

        async def collect() -> Evidence:
            nonlocal roll
            roll = await host.own_units(self.machine, self.expected)
            return {"units": [unit.as_dict() for unit in roll.shown], "ended": list(roll.ended)}

        await run.probe("units.state", collect)
        if roll.bad:
            raise await units.failure(self.machine, roll.bad)

    async def _reach(self, run: Run, observer: Observer) -> Examination:
        token = await host.secret(self.machine, MATRIX_HS_TOKEN)
        run.known_secrets.append(token)
        homeserver, control = await run.held.enter(reached(self.machine))
        run.ports = tuple(int(urlsplit(url).port or 0) for url in (homeserver, control))
        subject = RemoteSubject(
            machine=self.machine,
            observer=observer,
            instance=self._instance,
            session=self.setting.session,
            homeserver_url=homeserver,
            control_url=control,
            secrets={MATRIX_HS_TOKEN: token}.__getitem__,
            known=lambda: [token, *self.accounts.values()],
            password=self._password,
            approvers=self._approvers(),
        )
        return Examination(run.recorder, subject)

    async def _working(self) -> list[str]:
        """Name the agents at work, or all where none is: then their numbers are missing."""
        names = [agent.name for agent in self._instance.resolved_agents()]
        seen = await units.show(self.machine, map(naming.agent_unit, names))
        working = [name for name in names if seen[naming.agent_unit(name)].active == "active"]
        return working or names

    def _approvers(self) -> tuple[str, ...]:
        """List those whose password was given, if they are enough to approve something."""
        needed = quorum(self._instance)
        known = [who for who in colleagues(self._instance) if who in self.accounts]
        return tuple(known[:needed]) if len(known) >= needed else ()

    def _password(self, user_id: str) -> SecretValue:
        if user_id not in self.accounts:
            raise InternalError(f"nobody gave the password of {user_id}")
        return self.accounts[user_id]

    async def _nobody_works(self) -> None:
        """Refuse to stop an agent at work for a trial."""
        agents = [naming.agent_unit(agent.name) for agent in self._instance.resolved_agents()]
        seen = await units.show(self.machine, agents)
        working = sorted(name for name, unit in seen.items() if unit.active != "inactive")
        if working:
            raise MachineError(
                f"at work: {', '.join(working)}",
                where=self.machine.name,
                hint="stop these agents first: the conversation starts and stops every agent",
            )

    async def _talk(self, run: Run, examination: Examination) -> None:
        run.held.push(partial(_log_out, examination))
        hold_secrets(run, examination)
        try:
            talk = await examination.gather()
            run.held.push(partial(_leave_room, talk))
            await examination.scenario(talk)
        except AgencyError:
            lines = (await units.failure(self.machine, _TALKING)).log_tail
            run.recorder.log_tail = lambda: lines
            raise

    async def _suite(self) -> Evidence:
        read_only = self.config.read_only
        findings = await run_suite(
            self.machine,
            self.config.suite,
            self.setting.directory,
            timeout_s=self.config.suite_timeout_s,
            agents=self._instance.resolved_agents(),
            read_only=read_only,
        )
        return {"readOnly": read_only, **findings.as_dict()}


async def _log_out(examination: Examination) -> None:
    for person in examination.people:
        await person.log_out()


async def _leave_room(talk: Conversation) -> None:
    """Take the outsider out of the host's control room."""
    await talk.outsider.leave(talk.room)
