"""Target `incus`: make a machine, fill it, look at it, destroy it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

from agency.guests import Guest, Owner, connect_incus, keep, reap
from agency.machine import units
from agency.paths import state_dir
from agency.quarantine import Quarantine
from agency.secrets import MATRIX_REGISTRATION_SHARED_SECRET, SecretValue
from agency.source_digest import source_root
from agency.spinup.convergence import Converging
from agency.spinup.examination import OUTSIDER, Examination
from agency.spinup.record import Evidence
from agency.spinup.remote.agents_audit import AgentsAudit
from agency.spinup.remote.asking import Observer
from agency.spinup.remote.subject import RemoteSubject, reached
from agency.spinup.run import Run
from agency.spinup.scenario.accounts import create_people
from agency.spinup.scenario.staging import stage
from agency.spinup.suite.runner import run_suite
from agency.spinup.target import Setting, hold_secrets
from agency.spinup.targets.incus import evidence
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.creation import Made, Maker
from agency.spinup.targets.incus.evidence import Meter
from agency.spinup.targets.incus.needs import Needs
from agency.spinup.targets.incus.oidc import probe as oidc
from agency.spinup.targets.incus.oidc.provider import issue_client, start_provider, stop_provider
from agency.spinup.targets.incus.parts import Shop, make_part
from agency.spinup.targets.incus.reboot import reboot
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.spinup.targets.incus.watch import Watch
from agency.transcript import SYSTEM, system_digest


@contextlib.asynccontextmanager
async def open_incus(setting: Setting, config: Config) -> AsyncIterator[IncusTarget]:
    """Open the target; what killed runs left has been destroyed, and nothing has begun.

    Raises:
        PrerequisiteError: something that the run needs is not here; all of it is named.
    """
    source, state = source_root(), state_dir()
    parts = tuple(make_part(name, config.supplies) for name in config.parts)
    needs = Needs(config, state / "guest", source, parts)
    needs.refuse_lacking_here()
    async with connect_incus() as client:
        await needs.refuse_lacking(client)
        await reap(client, state)
        owner = Owner(state, setting.directory.run)
        maker = Maker(client, state / "guest", source, owner, config, parts)
        yield IncusTarget(setting, config, maker)


@dataclass(frozen=True, slots=True)
class IncusTarget:
    """Spin-up of an agency in a guest."""

    setting: Setting
    config: Config
    maker: Maker

    async def spin_up(self, run: Run) -> None:
        """Make the guest, activate the agency in it, look at it and reboot it."""
        end = _End(self.maker, self.config.keep)
        run.held.push(lambda: run.probe("guest.gone", end.look))
        async with run.step("image"):
            made = await run.held.enter(self.maker.hold())
            await run.look("guest.image", lambda: evidence.image(made))
        async with run.step("create"):
            guest, watch = await self._create(run, made, end)
        async with run.step("quarantine"):
            seen = await run.probe("quarantine.outbound", lambda: evidence.offline(guest))
            out = Quarantine("none", "the guest has a way out, or did not answer")
            run.network = Quarantine("guest") if seen.get("mode") == "guest" else out
        async with run.step("install"):
            secrets = await self._make_secrets(run)
            convergence = await self._install(run, made, guest, secrets)
        async with run.step("activate"):
            await _activate(run, made, guest, convergence)
            for part in self.maker.parts:
                await part.activated(guest)
        fit = _Fitted(guest, made, secrets, Meter(guest))
        async with run.step("accounts"):
            shop = await self._accounts(run, fit)
        assert shop.examination is not None
        examination, step = shop.examination, partial(self._step, shop)
        async with step("probe"):
            await examination.homeserver()
            talk = await examination.control()
            simulated = frozenset(name for part in self.maker.parts for name in part.simulated)
            await examination.services(self.setting.loaded, simulated)
        async with step("scenario"):
            await examination.scenario(talk)
        async with step("records"):
            await _records(run, fit, examination)
        async with step("converge"):
            await run.probe("activation.again", convergence.again)
            await run.probe("activation.drift", convergence.drift)
        async with step("login"):
            await _log_in(run, fit, examination)
        async with step("isolation"):
            await run.probe("suite.results", partial(self._suite, fit))
            await run.probe("resources.peak", fit.meter.read)
        async with step("reboot"):
            running, timeout_s = convergence.expected.running, self.config.boot_timeout_s
            again = partial(reboot, watch, examination.subject, talk, fit.audit, running)
            await run.probe("reboot.survived", partial(again, timeout_s=timeout_s))
            await examination.secrets_left()

    @contextlib.asynccontextmanager
    async def _step(self, shop: Shop, name: str) -> AsyncIterator[None]:
        """Take a step, and the probes that parts take at its end."""
        async with shop.run.step(name):
            yield
            for part in self.maker.parts:
                await part.at(name, shop)

    async def _create(self, run: Run, made: Made, end: _End) -> tuple[Guest, Watch]:
        clock = run.recorder.clock
        started = clock.steady()
        guest = await self.maker.create(made)
        run.held.push(partial(end.end, guest))
        watch = Watch(guest, run.recorder, awake=False)
        run.explain = watch.explain
        await guest.wait_running(timeout_s=self.config.boot_timeout_s)
        seconds = round(clock.steady() - started, 3)
        watch.awake = True
        run.watch(watch.guard())
        await run.probe("guest.running", lambda: evidence.running(guest, seconds))
        return guest, watch

    async def _make_secrets(self, run: Run) -> RunSecrets:
        place = self.setting.directory.path / "secrets"
        secrets = await asyncio.to_thread(
            RunSecrets.make, self.setting.loaded, place, self.maker.parts
        )
        run.held.push(secrets.close)
        run.known_secrets += secrets.values()
        return secrets

    async def _install(self, run: Run, made: Made, guest: Guest, secrets: RunSecrets) -> Converging:
        provisioned = await made.system.provision(
            guest, secrets.loaded, secrets.key, timeout_s=self.config.activate_timeout_s
        )
        for part in self.maker.parts:
            await part.bring(guest)
        await run.probe("guest.packages", provisioned.packages)
        return provisioned.convergence

    async def _accounts(self, run: Run, fit: _Fitted) -> Shop:
        guest, secrets, session = fit.guest, fit.secrets, self.setting.session
        instance = secrets.loaded.instance
        approvers = stage(instance).approvers
        homeserver, control = await run.held.enter(reached(guest))
        run.ports = tuple(int(urlsplit(url).port or 0) for url in (homeserver, control))
        await create_people(
            session,
            homeserver,
            instance,
            password=secrets.password,
            shared_secret=secrets.get(MATRIX_REGISTRATION_SHARED_SECRET),
            outsider=OUTSIDER,
            also=approvers,
        )
        observer = Observer(guest, fit.made.system.programs.agency)
        run.held.push(observer.close)
        shop = Shop(run, guest, observer, secrets, homeserver, self.setting.directory.path)
        ways = [await part.reach(shop) for part in self.maker.parts]
        subject = RemoteSubject(
            machine=guest,
            observer=observer,
            instance=instance,
            session=session,
            homeserver_url=homeserver,
            control_url=control,
            secrets=secrets.get,
            known=secrets.values,
            password=lambda _: secrets.password,
            usage=fit.meter.read,
            entrance=next((way for way in ways if way is not None), None),
            approvers=approvers,
        )
        examination = Examination(run.recorder, subject)
        hold_secrets(run, examination)
        return replace(shop, examination=examination)

    async def _suite(self, fit: _Fitted) -> Evidence:
        findings = await run_suite(
            fit.guest,
            self.maker.source / "tests" / "guest",
            self.setting.directory,
            timeout_s=self.config.suite_timeout_s,
            agents=fit.secrets.loaded.instance.resolved_agents(),
        )
        return findings.as_dict()


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Guest with an agency in it, and what both are made from."""

    guest: Guest
    made: Made
    secrets: RunSecrets = field(repr=False)
    meter: Meter

    @property
    def audit(self) -> AgentsAudit:
        return AgentsAudit(self.guest, self.made.system.programs.agency)


@dataclass(slots=True)
class _End:
    """End of a run's guest: destroyed, or left where that was asked for."""

    maker: Maker
    keep: bool
    kept: bool = False

    async def end(self, guest: Guest) -> None:
        if self.keep:
            await keep(self.maker.incus, guest.name)
            self.kept = True
        else:
            await guest.destroy()

    async def look(self) -> Evidence:
        maker = self.maker
        return await evidence.gone(maker.incus, maker.owner.instance, maker.base, kept=self.kept)


async def _activate(run: Run, made: Made, guest: Guest, convergence: Converging) -> None:
    seen = await convergence.activate()
    await run.look("activation.first", lambda: seen)
    digest = system_digest(made.system.image.fingerprint, seen["digests"], seen.get("systemDigest"))
    run.subjects[SYSTEM] = {"sha256": digest}

    async def started() -> Evidence:
        shown = await units.show(guest, convergence.expected.running)
        return {"units": [unit.as_dict() for unit in shown.values()]}

    await run.probe("units.state", started)


async def _records(run: Run, fit: _Fitted, examination: Examination) -> None:
    async def databases() -> Evidence:
        return await evidence.databases(
            fit.guest, await examination.subject.observe("store.schema")
        )

    await examination.records()
    await run.probe("database.versions", databases)
    await run.probe("agents.audit", fit.audit.observe)


async def _log_in(run: Run, fit: _Fitted, examination: Examination) -> None:
    """Log in a person who has no account yet, by a provider that ends with the step."""
    guest, system, domain = fit.guest, fit.made.system, fit.secrets.loaded.instance.domain
    provider = await start_provider(guest, system.provider, domain=domain, programs=system.programs)
    examination.issued += [SecretValue(value) for value in provider.secret_values]
    await issue_client(guest, provider)
    seen = await run.probe(oidc.PROBE, lambda: oidc.oidc_login(guest, provider))
    await run.look(oidc.PAGES, lambda: oidc.pages_evidence(seen, examination.owner))
    await stop_provider(guest)
