"""Answering questions about this machine. Nothing is changed by looking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agency import naming
from agency.control.config import ControlConfig
from agency.errors import AgencyError, BadInputError
from agency.secrets.values import SecretValue
from agency.spinup.observing import questions as asked
from agency.spinup.observing.program import this_program
from agency.spinup.probes import agents as agent_probes
from agency.spinup.probes import homeserver as homeserver_probes
from agency.spinup.probes import host as host_probes
from agency.spinup.probes import records, secrecy
from agency.spinup.quarantine import Quarantine
from agency.spinup.steps import UNREADABLE, Evidence, describe
from agency.store import parse_url, sqlite_path

HANDOVER = Path("/run/agency-control/agents")
# Where a secret in plain text would be a leak. /run/secrets and /run/credentials are their homes,
# and a homeserver's database has to hold its users' tokens.
_SEARCHED = (
    Path("/etc"),
    Path("/opt/source"),
    Path("/root"),
    Path("/tmp"),  # noqa: S108 - also what services have of it for themselves
    Path("/usr/lib/agency"),
    Path("/var/lib/agency-control"),
    Path("/var/lib/agency-source"),
    Path("/var/lib/agency-instance"),
    Path("/var/log"),
    Path("/var/tmp"),  # noqa: S108
)
_HOMES = Path("/home")
# The journal is compressed: it is read by its own program, with what is long, unprintable or in
# fields that nobody shows.
_JOURNAL = Path("/var/log/journal")
_READ_JOURNAL = ("journalctl", "--no-pager", "--quiet", "--all", "--output=export")
# On NixOS, files of /etc are links into it, and all units are in a directory of it.
_STORE = Path("/nix/store")
_UNITS = Path("/etc/systemd/system")
_MAX_FILES = 100_000
_JOURNAL_S = 60.0
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine: its control plane's configuration, and where agents' tokens lie."""

    config: ControlConfig
    handover: Path = HANDOVER
    searched: tuple[Path, ...] = _SEARCHED
    homes: Path = _HOMES
    read_journal: tuple[str, ...] = _READ_JOURNAL

    @property
    def ports(self) -> dict[str, int]:
        """Every agent's port by its name."""
        return {agent.name: agent.port for agent in self.config.agents}

    @property
    def database(self) -> Path:
        """The control plane's SQLite file.

        Raises:
            BadInputError: its store is of another kind.
        """
        path = sqlite_path(parse_url(self.config.database_url))
        if path is None:
            raise BadInputError(
                "only a store in SQLite can be looked at from its machine",
                where="database_url",
            )
        return Path(path)

    def places(self) -> tuple[Path, ...]:
        """The directories to search; the agents' homes are among them."""
        return (*self.searched, *(self.homes / naming.agent_localpart(name) for name in self.ports))

    def tokens(self) -> dict[str, SecretValue]:
        """The tokens of the agents that run."""
        found = {}
        for name in self.ports:
            path = self.handover / f"{name}.token"
            if path.is_file():
                found[name] = SecretValue(path.read_text().strip())
        return found


async def answer(machine: Machine, questions: Iterable[asked.Question]) -> asked.Answers:
    """Answer each question, in order; one that cannot be answered says why."""
    return asked.Answers(answers=tuple([await _answered(machine, one) for one in questions]))


async def _answered(machine: Machine, question: asked.Question) -> asked.Answer:
    try:
        return asked.Answer(evidence=await _evidence(machine, question))
    except (AgencyError, OSError, aiohttp.ClientError, *UNREADABLE) as error:
        return asked.Answer(error=describe(error))


async def _evidence(machine: Machine, question: asked.Question) -> Evidence:
    match question:
        case asked.Outbound():
            return await asyncio.to_thread(_outbound)
        case asked.Process(pid=pid):
            return homeserver_probes.process(pid)
        case asked.Health():
            return await _health(machine)
        case asked.Stopped(pids=pids):
            return agent_probes.stopped(machine.ports, pids)
        case asked.Processes(pids=pids):
            return host_probes.processes(pids)
        case asked.Program():
            return (await asyncio.to_thread(this_program)).model_dump()
        case asked.Secrets(values=values):
            known = [SecretValue(value.get_secret_value()) for value in values]
            return await asyncio.to_thread(_search, machine, known)
        case _:
            return await asyncio.to_thread(_stored, machine.database, question)


def _stored(database: Path, question: asked.Stored) -> Evidence:
    match question:
        case asked.Schema():
            return records.schema(database)
        case asked.Chain():
            return records.chain(database)
        case asked.AuditCount():
            return {"count": records.audit_count(database)}
        case asked.AuditOutcome(trace=trace):
            return {"outcome": records.audit_outcome(database, trace)}
        case asked.AuditRow(sequence=sequence):
            return records.audit_row(database, sequence)


def _outbound() -> Evidence:
    """Attempts to leave. They are made where there is no way out, and nowhere else."""
    offline = host_probes.only_loopback()
    mode = "guest" if offline else "none"
    return host_probes.outbound(Quarantine(mode, None if offline else "there are interfaces"))


async def _health(machine: Machine) -> Evidence:
    tokens = machine.tokens()
    missing = sorted(machine.ports.keys() - tokens.keys())
    if missing:
        raise BadInputError(f"no token was handed to {', '.join(missing)}: not running")
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as session:
        return await agent_probes.health(session, machine.ports, tokens)


def _search(machine: Machine, known: list[SecretValue]) -> Evidence:
    values = [*known, *machine.tokens().values()]
    size, leaked = secrecy.search_output(values, machine.read_journal, timeout_s=_JOURNAL_S)
    files = files_of(machine.places())
    seen = secrecy.search(values, files=files, pids=_every_pid(), texts=())
    return {
        **seen,
        "findings": int(seen["findings"]) + leaked,
        "places": sorted({*seen["places"], *(["journal"] if leaked else [])}),
        "journalBytes": size,
    }


def files_of(searched: Iterable[Path], *, store: Path = _STORE, units: Path = _UNITS) -> list[Path]:
    """The files to search, each once; links are followed where they lead into Nix's store."""
    linked = [units] if units.is_symlink() else []
    found = (path for base in (*searched, *linked) for path in _files(base, store))
    return list({path.resolve(): path for path in found}.values())


def _files(base: Path, store: Path) -> Iterator[Path]:
    count = 0
    for path in _below(base):
        if not path.is_file() or (path.is_symlink() and not path.resolve().is_relative_to(store)):
            continue
        count += 1
        if count > _MAX_FILES:
            raise BadInputError(f"more than {_MAX_FILES} files to search", where=str(base))
        yield path


def _below(base: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(base, onerror=_unreadable):
        here = Path(directory)
        names[:] = [name for name in names if here / name != _JOURNAL]
        yield from (here / name for name in files)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # not there, or removed in the meantime
        raise error


def _every_pid() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
