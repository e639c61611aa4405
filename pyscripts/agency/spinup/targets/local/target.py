"""Target `local`: make an agency of child processes, look at it, talk to it and stop it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib import import_module

from agency.spinup.examination import OUTSIDER, Examination
from agency.spinup.probes import host as host_probes
from agency.spinup.run import Run
from agency.spinup.scenario.staging import stage
from agency.spinup.target import Setting, hold_secrets
from agency.spinup.targets.local.agency import LocalAgency
from agency.spinup.targets.local.ports import check_port_names, hold_ports, usual_ports
from agency.spinup.targets.local.supervisor import Supervisor

_READS_STORE = "agency.control.store.reading"
_LOG_LINES, _LOG_BYTES = 10, 8 * 1024


@contextlib.asynccontextmanager
async def open_local(setting: Setting) -> AsyncIterator[LocalTarget]:
    """Open the target; nothing of it has begun.

    Raises:
        UsageError: a port was pinned of something that the instance does not have.
    """
    instance, pinned = setting.loaded.instance, setting.options.ports
    check_port_names(instance, pinned)
    usual = usual_ports(instance) if setting.network.mode != "none" else {}
    yield LocalTarget(setting, {**usual, **pinned})


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """Spin-up on this machine; `ports` are those that are wanted, by name."""

    setting: Setting
    ports: Mapping[str, int]

    async def spin_up(self, run: Run) -> None:
        """Start the services, talk to them and read their records."""
        setting, secrets = self.setting, self.setting.secrets
        staged = stage(setting.loaded.instance)
        instance = staged.of(setting.loaded.instance)
        supervisor = Supervisor(setting.directory.run)
        run.network = setting.network
        run.watch(supervisor.watch())
        # Also where no agency was made that knows them.
        run.held.push(lambda: run.known_secrets.extend(map(secrets.get, secrets.names())))
        async with run.step("quarantine"):
            await run.look("quarantine.outbound", lambda: host_probes.outbound(setting.network))
        async with run.step("install"):
            run.recorder.log_tail = self.log_tail
            held = hold_ports(instance, self.ports)
            run.ports = tuple(held.numbers.values())
            agency = LocalAgency(
                instance, setting.directory, secrets, held, setting.session, supervisor
            )
            run.held.push(agency.close)
            run.held.push(agency.supervisor.stop_all)
            examination = Examination(run.recorder, agency)
            hold_secrets(run, examination)
            agency.install()
        async with run.step("homeserver"):
            if instance.models is not None:
                await agency.launch_models()
            await agency.launch_control()
            # What reads the store takes long to import; now there is time for it.
            importing = asyncio.to_thread(import_module, _READS_STORE)
            await asyncio.gather(agency.start_homeserver(), importing)
            await examination.homeserver()
        async with run.step("accounts"):
            await agency.create_people(OUTSIDER, also=staged.approvers)
        async with run.step("control"):
            await agency.control_ready()
        async with run.step("probe"):
            talk = await examination.control()
        async with run.step("scenario"):
            await examination.scenario(talk)
        async with run.step("records"):
            await examination.records()

    def log_tail(self) -> tuple[str, ...]:
        """Read the last lines of every log of this run, each with the name of its service."""
        directory, lines = self.setting.directory, list[str]()
        for path in sorted(directory.path.rglob("log")) + sorted(directory.logs.glob("*.log")):
            owner = path.stem if path.suffix else path.parent.name
            text = path.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
            lines += [f"{owner}: {line}" for line in text.splitlines()[-_LOG_LINES:]]
        return tuple(lines)
