"""The target `incus` as a list of steps: make a machine, fill it, look at it, destroy it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agency.errors import AgencyError, InternalError
from agency.guests.incus.client import Incus
from agency.guests.machines.janitor import keep
from agency.guests.machines.machine import Guest, GuestError
from agency.machine import units
from agency.quarantine import Quarantine
from agency.secrets.names import MATRIX_REGISTRATION_SHARED_SECRET
from agency.secrets.values import SecretValue
from agency.spinup.examination import OUTSIDER, Examination
from agency.spinup.execute import Step
from agency.spinup.probes import host as host_probes
from agency.spinup.record import Evidence, Recorder
from agency.spinup.remote.agents_audit import AgentsAudit
from agency.spinup.remote.asking import Observer
from agency.spinup.remote.subject import RemoteSubject, reached
from agency.spinup.scenario.accounts import create_people
from agency.spinup.suite.runner import run_suite
from agency.spinup.target import Setting
from agency.spinup.targets.incus import evidence
from agency.spinup.targets.incus.config import Wishes
from agency.spinup.targets.incus.creation import Made, Maker
from agency.spinup.targets.incus.oidc import probe as oidc
from agency.spinup.targets.incus.oidc.provider import issue_client, start_provider, stop_provider
from agency.spinup.targets.incus.reach import GuestMachine
from agency.spinup.targets.incus.reboot import Before, reboot
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.spinup.targets.incus.system import Convergence
from agency.transcript import CONTROL_UNIT, HOMESERVER_UNIT, SYSTEM, system_digest

_WATCH_S = 1.0
_EXPLAIN_S = 15.0
_ANSWER_S = 5.0
_LOG_LINES = 10
_NOT_SEEN = Quarantine("none", "the guest was not looked at")
_EXPLAINED = (CONTROL_UNIT, HOMESERVER_UNIT)


@dataclass(slots=True)
class IncusTarget:
    """One spin-up in a guest under way."""

    setting: Setting
    recorder: Recorder
    wishes: Wishes
    incus: Incus
    maker: Maker
    secrets: RunSecrets
    known_secrets: list[SecretValue] = field(default_factory=list)
    network: Quarantine = field(default_factory=lambda: _NOT_SEEN)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _made: Made | None = None
    _guest: Guest | None = None
    _watched: bool = False
    _examination: Examination | None = None
    _activation: Evidence = field(default_factory=dict)
    _convergence: Convergence | None = None
    _ports: tuple[int, ...] = ()  # of this machine, that lead into the guest
    _most_memory: int = 0

    kind = "incus"

    @property
    def guest(self) -> Guest:
        """The guest; there once the step `create` is done."""
        if self._guest is None:
            raise InternalError("the guest was used before it was made")
        return self._guest

    @property
    def made(self) -> Made:
        """What the guest is made from; there once the step `image` is done."""
        if self._made is None:
            raise InternalError("the image was used before it was made")
        return self._made

    @property
    def machine(self) -> GuestMachine:
        """The guest as what is looked at."""
        return GuestMachine(self.guest)

    @property
    def examination(self) -> Examination:
        """The examination; there once the step `accounts` is done."""
        if self._examination is None:
            raise InternalError("the agency was examined before it could be reached")
        return self._examination

    def subjects(self) -> Mapping[str, Mapping[str, str]]:
        """The system, by what it was made from and every file that was laid down in it."""
        if self._made is None or not self._activation:
            return {}
        fingerprint = self.made.system.image.fingerprint
        digests, system = self._activation["digests"], self._activation.get("systemDigest")
        return {SYSTEM: {"sha256": system_digest(fingerprint, digests, system)}}

    def steps(self) -> tuple[Step, ...]:
        """The steps, in order; each may rely on those before it."""
        plain: tuple[tuple[str, Callable[[], Coroutine[None, None, None]]], ...] = (
            ("image", self._image),
            ("create", self._create),
            ("quarantine", self._quarantine),
            ("install", self._install),
            ("activate", self._activate),
            ("accounts", self._accounts),
            ("probe", self._probe),
            ("scenario", self._scenario),
            ("records", self._records),
            ("converge", self._converge),
            ("login", self._login),
            ("isolation", self._isolation),
            ("reboot", self._reboot),
        )
        return tuple((name, self._explained(step)) for name, step in plain)

    def _explained(
        self, step: Callable[[], Coroutine[None, None, None]]
    ) -> Callable[[], Coroutine[None, None, None]]:
        async def explained() -> None:
            try:
                await step()
            except (AgencyError, OSError, asyncio.CancelledError) as error:
                if not getattr(error, "log_tail", ()):
                    lines = await self._journal()
                    self.recorder.log_tail = lambda: lines
                if not isinstance(error, asyncio.CancelledError):
                    await self._refuse_ended(error)
                raise

        return explained

    async def _journal(self) -> tuple[str, ...]:
        """The end of what the agency's units said, where the guest can still be asked."""
        if self._guest is None:
            return ()
        lines: list[str] = []
        try:
            async with asyncio.timeout(_EXPLAIN_S):
                for unit in dict.fromkeys([*await self.guest.failed_units(), *_EXPLAINED]):
                    journal = await self.guest.journal(unit, _LOG_LINES)
                    lines += [f"{unit}: {line}" for line in journal]
        except (AgencyError, TimeoutError) as error:
            lines.append(f"the guest cannot be asked: {error}")
        return tuple(lines)

    async def guard(self) -> None:
        """Return never; raise when the guest ends by itself."""
        while True:
            await asyncio.sleep(_WATCH_S)
            ended = await self._ended()
            if ended is not None:
                raise ended

    async def _ended(self) -> GuestError | None:
        """The error for a guest that does not run though nobody stopped it."""
        if not self._watched:
            return None
        seen = await self.incus.instance(self.guest.name)
        if not self._watched or (seen is not None and seen.running):
            return None
        state = seen.status if seen else "gone"
        return GuestError(f"the guest ended by itself: {state}", where=self.guest.name)

    async def _refuse_ended(self, error: Exception) -> None:
        """Name the cause where a step failed because the guest ends: Incus says so a bit later."""
        with contextlib.suppress(TimeoutError):  # it hangs: then that is not why
            async with asyncio.timeout(_EXPLAIN_S):
                while self._watched and not await self._answers():
                    ended = await self._ended()
                    if ended is not None:
                        raise ended from error
                    await asyncio.sleep(_WATCH_S / 4)

    async def _answers(self) -> bool:
        with contextlib.suppress(AgencyError):
            return (await self.guest.look("true", timeout_s=_ANSWER_S)).exit_status == 0
        return False

    async def _observe(self, name: str, evidence: Evidence) -> Evidence:
        async def collect() -> Evidence:
            return evidence

        return await self.recorder.probe(name, collect)

    async def _image(self) -> None:
        made = self._made = await self._held.enter_async_context(self.maker.hold())
        await self._observe(
            "guest.image",
            evidence.image(made.system, made.decision, made.choice, made.server),
        )

    async def _create(self) -> None:
        started = self.recorder.clock.steady()
        self._guest = await self.maker.create(self.made)
        await self.guest.wait_running(timeout_s=self.wishes.boot_timeout_s)
        seconds = round(self.recorder.clock.steady() - started, 3)
        self._watched = True
        await self.recorder.probe("guest.running", lambda: evidence.running(self.guest, seconds))

    async def _quarantine(self) -> None:
        seen = await self.recorder.probe(
            "quarantine.outbound", lambda: evidence.offline(self.machine)
        )
        if seen.get("mode") == "guest":
            self.network = Quarantine("guest")
        else:
            self.network = Quarantine("none", "the guest has a way out, or did not answer")

    async def _install(self) -> None:
        loaded, system = await asyncio.to_thread(self.secrets.prepare), self.made.system
        await system.provision(self.guest, loaded, self.secrets.key)
        await self.recorder.probe("guest.packages", lambda: system.packages(self.machine))
        timeout_s = self.wishes.activate_timeout_s
        self._convergence = system.convergence(self.guest, timeout_s=timeout_s)

    @property
    def convergence(self) -> Convergence:
        """How the guest is activated; there once the step `install` is done."""
        if self._convergence is None:
            raise InternalError("the guest was activated before it was provisioned")
        return self._convergence

    async def _activate(self) -> None:
        self._activation = await self.convergence.activate()
        await self._observe("activation.first", self._activation)
        await self.recorder.probe("units.state", self._units)

    async def _units(self) -> Evidence:
        seen = await units.show(self.machine, self.convergence.expected.running)
        return {"units": [unit.as_dict() for unit in seen.values()]}

    async def _accounts(self) -> None:
        session, instance = self.setting.session, self.secrets.loaded.instance
        homeserver, control = await self._held.enter_async_context(reached(self.machine))
        self._ports = tuple(int(urlsplit(url).port or 0) for url in (homeserver, control))
        await create_people(
            session,
            homeserver,
            instance,
            password=self.secrets.password,
            shared_secret=self.secrets.get(MATRIX_REGISTRATION_SHARED_SECRET),
            outsider=OUTSIDER,
        )
        observer = Observer(self.machine, self.made.system.programs.agency)
        self._held.push_async_callback(observer.close)
        subject = RemoteSubject(
            machine=self.machine,
            observer=observer,
            instance=instance,
            session=session,
            homeserver_url=homeserver,
            control_url=control,
            secrets=self.secrets.get,
            known=self.secrets.values,
            password=lambda _: self.secrets.password,
            usage=self._usage,
        )
        self._examination = Examination(self.recorder, subject)

    async def _usage(self) -> Evidence:
        seen = await self.guest.usage()
        self._most_memory = max(self._most_memory, seen.memory or 0)
        return evidence.usage(seen, self._most_memory)

    async def _probe(self) -> None:
        await self.examination.homeserver()
        await self.examination.control()

    async def _scenario(self) -> None:
        await self.examination.scenario()

    async def _records(self) -> None:
        await self.examination.records()
        await self.recorder.probe("database.versions", self._databases)
        await self.recorder.probe("agents.audit", self._agents_audit.observe)

    async def _databases(self) -> Evidence:
        return await evidence.databases(
            self.machine, await self.examination.subject.observe("store.schema")
        )

    @property
    def _agents_audit(self) -> AgentsAudit:
        return AgentsAudit(self.machine, self.made.system.programs.agency)

    async def _converge(self) -> None:
        await self.recorder.probe("activation.again", self.convergence.again)
        await self.recorder.probe("activation.drift", self.convergence.drift)

    async def _login(self) -> None:
        """Log somebody in who has no account yet, by a provider that ends with the step."""
        domain = self.secrets.loaded.instance.domain
        system = self.made.system
        provider = await start_provider(
            self.guest, system.provider, domain=domain, programs=system.programs
        )
        self.examination.issued += [SecretValue(value) for value in provider.secret_values]
        await issue_client(self.guest, provider)
        await self.recorder.probe(oidc.PROBE, lambda: oidc.oidc_login(self.guest, provider))
        await stop_provider(self.guest)

    async def _isolation(self) -> None:
        await self.recorder.probe("suite.results", self._suite)
        await self.recorder.probe("resources.peak", self._usage)

    async def _suite(self) -> Evidence:
        host, environment = self.machine.suite_host()
        directory = self.setting.directory
        agents = self.secrets.loaded.instance.resolved_agents()
        findings = await run_suite(
            host,
            environment,
            self.maker.source / "tests" / "guest",
            directory.path,
            marker=directory.run,
            timeout_s=self.wishes.suite_timeout_s,
            uids={agent.name: agent.uid for agent in agents},
        )
        return findings.as_dict()

    async def _reboot(self) -> None:
        running = self.convergence.expected.running
        before = await Before.observe(self.guest, self.examination, self._agents_audit, running)
        self._watched = False
        try:
            await self.recorder.probe(
                "reboot.survived",
                lambda: reboot(
                    self.guest,
                    self.examination,
                    self._agents_audit,
                    before,
                    clock=self.recorder.clock,
                    timeout_s=self.wishes.boot_timeout_s,
                ),
            )
        finally:
            self._watched = True
        await self.examination.secrets_left()

    async def stop(self) -> None:
        """Destroy the guest, or leave it where that was asked for; look what is left."""
        with self.recorder.step("teardown"):
            self._watched = False
            try:
                await self._learn_secrets()
            finally:
                await self._take_down()

    async def _take_down(self) -> None:
        try:
            await self._held.aclose()
        finally:
            await self._end_guest()
            self.secrets.close()
            self.setting.directory.remove()
        await self._look_back()

    async def _end_guest(self) -> None:
        if self._guest is None:
            return
        if self.wishes.keep:
            await keep(self.incus, self.guest.name)
        else:
            await self.guest.destroy()

    async def _look_back(self) -> None:
        directory = self.setting.directory
        await self.recorder.probe(
            "guest.gone",
            lambda: evidence.gone(
                self.incus,
                self.maker.owner.instance,
                self.maker.base,
                kept=self.wishes.keep and self._guest is not None,
            ),
        )

        async def clean() -> Evidence:
            return host_probes.teardown(directory.run, self._ports, directory.path)

        await self.recorder.probe("teardown.clean", clean)

    async def _learn_secrets(self) -> None:
        """Note what must not be in the transcript; what a guest does not tell is a failure."""
        self.known_secrets = [*self.secrets.values()]
        if self._examination is not None:
            self.known_secrets = self._examination.known_secrets()
            self.known_secrets = await self._examination.all_secrets()
