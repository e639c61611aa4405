"""The target `local` as a list of steps: make, observe, talk, stop, clean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from agency import quarantine
from agency.errors import InternalError
from agency.rundir import RunDirectory
from agency.secrets.providers import SecretProvider
from agency.secrets.values import SecretValue
from agency.spinup.examination import OUTSIDER, Examination
from agency.spinup.execute import Step
from agency.spinup.probes import host as host_probes
from agency.spinup.record import Evidence, Recorder
from agency.spinup.targets.local.agency import LocalAgency
from agency.spinup.targets.local.subject import LocalSubject
from agency.spinup.targets.local.supervisor import Supervisor

_READS_STORE = "agency.control.store.reading"
_LOG_LINES, _LOG_BYTES = 10, 8 * 1024


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
    _examination: Examination | None = None

    kind = "local"

    @property
    def agency(self) -> LocalAgency:
        """The agency; there once the step `install` has begun its work."""
        if self._agency is None:
            raise InternalError("the agency was used before it was prepared")
        return self._agency

    @property
    def examination(self) -> Examination:
        """The examination of the agency; there as soon as that is."""
        if self._examination is None:
            subject = LocalSubject(self.agency, self.agency.session)
            self._examination = Examination(self.recorder, subject)
        return self._examination

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

    def subjects(self) -> Mapping[str, Mapping[str, str]]:
        """Nothing but source and instance: the system is this machine's."""
        return {}

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
        await self.agency.launch_control()
        # What reads the store takes long to import; now there is time for it.
        importing = asyncio.to_thread(import_module, _READS_STORE)
        await asyncio.gather(self.agency.start_homeserver(), importing)
        await self.examination.homeserver()

    async def _accounts(self) -> None:
        await self.agency.create_people(OUTSIDER)

    async def _control(self) -> None:
        await self.agency.control_ready()

    async def _probe(self) -> None:
        await self.examination.control()

    async def _scenario(self) -> None:
        await self.examination.scenario()

    async def _records(self) -> None:
        await self.examination.records()

    async def stop(self) -> None:
        """Stop what runs, remove what was written, and look whether anything is left."""
        with self.recorder.step("teardown"):
            try:
                await self._learn_secrets()
            finally:
                await self._take_down()

    async def _learn_secrets(self) -> None:
        """Note what must not be in the transcript; what is not told is a failure."""
        if self._agency is None:
            self.known_secrets = [self.secrets.get(name) for name in self.secrets.names()]
            return
        self.known_secrets = self.examination.known_secrets()
        self.known_secrets = await self.examination.all_secrets()

    async def _take_down(self) -> None:
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
