"""One activation, step by step: observe, mend, observe again."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agency import locks
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.guests.activation import accounts, firewall
from agency.guests.activation import dependents as effects
from agency.guests.activation import files as laying
from agency.guests.activation.age_key import AGE_KEY_FILE
from agency.guests.activation.changes import Activation, ActivationError, Change, UnitSeen
from agency.guests.activation.definitions import Definitions
from agency.secrets import Installer, load_config
from agency.systemd import JournalError, Units, UnitState, connected, journal

SECRETS_UNIT = "agency-secrets.service"
SECRETS_CONFIG = Path("/etc/agency/secrets.json")
FIREWALL_UNIT = "nftables.service"
# Everything else may rely on these.
FIRST = (FIREWALL_UNIT, SECRETS_UNIT)
SETTLE_S = 2.0  # whoever has been up for so long did not end right after its start
_POLL_S = 0.1
_ROOT = Path("/")
_LOCK = Path("/run/agency-activate.lock")
_MAX_FAILED = 5
_JOURNAL_LINES = 30


@contextlib.contextmanager
def only_one(lock: Path = _LOCK) -> Iterator[None]:
    """Hold the machine, so that no second activation runs.

    Raises:
        PrerequisiteError: another one runs, or this is not root.
    """
    if os.geteuid() != 0:
        raise PrerequisiteError("only root can activate", where="user", hint="run it as root")
    busy = PrerequisiteError("another activation runs", where=str(lock), hint="wait for its end")
    with locks.only_one(lock, busy):
        yield


async def activate(definitions: Definitions, *, timeout_s: float, clock: Clock) -> Activation:
    """Bring this machine to its definitions.

    Raises:
        ActivationError: a unit failed, with the end of its journal.
        AgencyError: a step could not be made; a later run goes on from there.
    """
    started = clock.steady()
    _check_age_key(definitions)
    async with connected() as systemd:
        run = _Run(definitions, systemd, clock, started + timeout_s)
        await run.all()
    run.report.seconds = clock.steady() - started
    return run.report


async def check(definitions: Definitions, *, clock: Clock) -> Activation:
    """Say what differs, and change nothing. Secrets are not compared: that takes decrypting."""
    started = clock.steady()
    texts = _texts(definitions)
    report = Activation(changes=_file_changes(definitions))
    report.changes += accounts.user_differences(texts) + accounts.directory_differences(texts)
    if not any(change.what.startswith("etc/nftables") for change in report.changes):
        report.changes += firewall.difference()
    async with connected() as systemd:
        for state in (await systemd.states(definitions.units)).values():
            if not state.up and not state.once:
                report.changes.append(Change("unit", state.name, state.active, "active"))
    report.seconds = clock.steady() - started
    return report


def _texts(definitions: Definitions) -> dict[str, str]:
    return {path: file.content.decode() for path, file in definitions.files.items()}


def _file_changes(definitions: Definitions) -> list[Change]:
    superfluous = laying.superfluous(_ROOT, definitions.files)
    seen = laying.observe(_ROOT, (*definitions.files, *superfluous))
    return laying.differences(definitions.files, seen, superfluous)


def _check_age_key(definitions: Definitions) -> None:
    if definitions.needs_age_key and not AGE_KEY_FILE.is_file():
        raise PrerequisiteError(
            "the age key that decrypts the secrets is not on this machine",
            where=str(AGE_KEY_FILE),
            hint=f"install -D -m 0400 KEY {AGE_KEY_FILE}",
        )


@dataclass(slots=True)
class _Run:
    """An activation under way. `changed` are the paths below / whose content is another now."""

    definitions: Definitions
    systemd: Units
    clock: Clock
    deadline: float
    report: Activation = field(default_factory=Activation)
    changed: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(init=False)
    laid: float = 0.0  # when the files were as wanted, on the steady clock

    def __post_init__(self) -> None:
        self.texts = _texts(self.definitions)

    async def all(self) -> None:
        """Every step."""
        await self._files()
        self.report.changes += accounts.converge_users(self.texts)
        self.report.changes += accounts.converge_directories(self.texts)
        await self._reload()
        if differs := firewall.difference():
            firewall.load()
            self.report.changes += differs
        names = self.definitions.units
        await self._stage([name for name in names if name in FIRST])
        await self._secrets()
        await self._restart_what_else_runs()
        await self._stage([name for name in names if name not in FIRST])
        await self._observe()

    def _left(self) -> float:
        return max(0.1, self.deadline - self.clock.steady())

    async def _files(self) -> None:
        changes = _file_changes(self.definitions)
        for unit in effects.gone_units(changes, self.texts):
            # By its old definition, while that is there: without it, a unit that still ran or
            # was about to be started again would run unconfined.
            for name in await self.systemd.unended(unit):
                result = await self.systemd.do("StopUnit", name, timeout_s=self._left())
                await self._refuse({} if result == "done" else {name: result})
                self.report.changes.append(Change("unit", name, "active", "absent"))
        laying.lay(_ROOT, self.definitions.files, changes)
        self.report.changes += changes
        self.changed |= {change.what for change in changes}
        self.laid = self.clock.steady()
        self.report.digests = {
            path: sha256_hex(file.content) for path, file in sorted(self.definitions.files.items())
        }

    async def _reload(self) -> None:
        units = [path for path in self.changed if "systemd/" in path]
        states = await self.systemd.states(self.definitions.units)
        for name, state in states.items():
            if state.load == "masked":
                for link in await self.systemd.unmask(name):
                    self.report.changes.append(
                        Change("unit", name, f"masked by {link}", "unmasked")
                    )
                    units.append(link)
        if units or any(state.stale for state in states.values()):
            await self.systemd.reload()
        for name in self.definitions.units:
            for link in await self.systemd.enable(name) if _can_enable(name, self.texts) else ():
                self.report.changes.append(Change("unit", name, "not enabled", link))

    async def _secrets(self) -> None:
        """Mend what is wrong with a secret though its unit ran: it stays active after its end."""
        if SECRETS_UNIT not in self.definitions.units:
            return
        installed = await asyncio.to_thread(Installer(load_config(SECRETS_CONFIG)).run)
        if installed.failed:
            lines = tuple(str(error) for error in installed.failed.values())
            raise ActivationError(
                f"secrets that cannot be put in place: {', '.join(installed.failed)}",
                where=SECRETS_UNIT,
                log_tail=lines,
            )
        for name in installed.written:
            self.report.changes.append(Change("secret", name, "missing or another", "in place"))
            self.changed.add(f"run/secrets/{name}")
            self.changed.add(f"run/secrets/rendered/{name}")
        for path in installed.removed:
            self.report.changes.append(Change("secret", path, "superfluous", "absent"))

    async def _stage(self, names: list[str]) -> None:
        """Start what is to run and does not, and restart what a change concerns; wait for all."""
        states = await self.systemd.states(names)
        for failed in await self._failed():
            await self.systemd.reset_failed(failed)  # so that none is refused for its many starts
        started = self.clock.steady()
        jobs: dict[str, asyncio.Future[str]] = {}
        watched: list[str] = []
        ended: set[str] = set()
        for name in names:
            state = states[name]
            concerned = effects.concerned(name, self.texts, self.changed)
            if state.up and not concerned and name not in ended:
                watched += [name] if state.up_s < SETTLE_S else []
                continue
            verb = "RestartUnit" if state.up else "StartUnit"
            if state.up and name.endswith(".socket"):
                service = f"{name.removesuffix('.socket')}.service"
                await self.systemd.do("StopUnit", service, timeout_s=self._left())
                ended.add(service)
            jobs[name] = await self.systemd.begin(verb, name)
            self._note(state, restarted=state.up)
        results = await self._ended(jobs)
        seconds = round(self.clock.steady() - started, 3)
        await self._refuse({name: result for name, result in results.items() if result != "done"})
        await self._settle([*watched, *(name for name in jobs if not states[name].once)])
        self.report.units += [UnitSeen(name, "active", "", seconds) for name in jobs]

    def _note(self, state: UnitState, *, restarted: bool) -> None:
        if state.once:
            self.report.ran.append(state.name)
            return
        after = "restarted" if restarted else "started"
        self.report.changes.append(Change("unit", state.name, state.active, after))

    async def _ended(self, jobs: Mapping[str, asyncio.Future[str]]) -> dict[str, str]:
        if not jobs:
            return {}
        await asyncio.wait(jobs.values(), timeout=self._left())
        return {
            name: future.result() if future.done() else "timeout" for name, future in jobs.items()
        }

    async def _settle(self, names: list[str]) -> None:
        """Look at what was started until each has been up for a moment, or said it is ready.

        A program that was merely started may end right after.
        """
        before = await self.systemd.states(names)
        while names:
            now = await self.systemd.states(names)
            await self._refuse(
                {
                    name: state.sub
                    for name, state in now.items()
                    if not state.up or state.restarts != before[name].restarts
                }
            )
            late = self.clock.steady() >= self.deadline
            if late or not any(_may_end(state) for state in now.values()):
                break
            await asyncio.sleep(_POLL_S)

    async def _failed(self) -> list[str]:
        """Units of ours that have failed, whether or not we start them ourselves."""
        ours = {name for path in self.texts if (name := effects.unit_of(path)) and "@" not in name}
        return await self.systemd.failed(sorted(ours | set(self.definitions.units)))

    async def _refuse(self, wrong: Mapping[str, str]) -> None:
        """Raise for units that are not as they are to be, with the journals of the causes."""
        if not wrong:
            return
        told = ", ".join(f"{name} ({why})" for name, why in wrong.items())
        failed = await self._failed()
        tail: list[str] = []
        for name in (failed or list(wrong))[:_MAX_FAILED]:
            tail += [f"{name}:", *await _journal_tail(name)]
        raise ActivationError(
            f"did not start: {told}",
            where=", ".join(failed) or "systemd",
            hint="the log holds the end of each failed unit's journal",
            log_tail=tuple(tail),
        )

    async def _restart_what_else_runs(self) -> None:
        """Services that something else started, except agents: their work is not ended."""
        others = [
            name
            for path in self.texts
            if (name := effects.unit_of(path)) is not None
            and name.endswith(".service")
            and "@" not in name
            and name not in self.definitions.units
        ]
        running = set(others) & {*await self.systemd.running("*.service")}
        for name, state in (await self.systemd.states(sorted(running))).items():
            is_older = state.up_s > self.clock.steady() - self.laid
            if state.up and is_older and effects.concerned(name, self.texts, self.changed):
                result = await self.systemd.do("RestartUnit", name, timeout_s=self._left())
                await self._refuse({} if result == "done" else {name: result})
                self.report.changes.append(Change("unit", name, state.active, "restarted"))

    async def _observe(self) -> None:
        took = {unit.name: unit.seconds for unit in self.report.units}
        states = await self.systemd.states(self.definitions.units)
        await self._refuse({n: s.sub for n, s in states.items() if not s.up and not s.once})
        self.report.units = [
            UnitSeen(name, state.active, state.sub, took.get(name))
            for name, state in sorted(states.items())
        ]


async def _journal_tail(unit: str) -> list[str]:
    """Read the end of a unit's journal of this boot, or why it cannot be read."""
    try:
        entries = await journal.tail(unit, _JOURNAL_LINES, this_boot=True)
    except JournalError as error:
        return [error.message]
    return [entry.line for entry in entries]


def _may_end(state: UnitState) -> bool:
    """Return whether a unit started just now, and has not yet said that it is ready."""
    return state.up_s < SETTLE_S and (not state.tells or state.restarts > 0)


def _can_enable(name: str, texts: Mapping[str, str]) -> bool:
    """Return whether a unit says what starts it; one not exported is the machine's own."""
    paths = effects.definitions_of(name, texts)
    return not paths or any("\n[Install]\n" in texts[path] for path in paths)
