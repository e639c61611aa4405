"""`backups show` and `create`, with a unit that a test moves on; the real one is in a guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agency.backup.state import LastSuccess, metrics
from agency.clock import Clock
from agency.control.backups.desk import BackupDesk, BackupError
from agency.control.backups.settings import BackupSettings
from agency.control.commands import backups
from agency.control.execution.result import RefusalError, Result, say_nothing
from agency.systemd import ServiceProperties, SystemdError

NOW = 1_790_000_000
UNKNOWN = dict.fromkeys(
    ("pid", "started_at", "exit_status", "memory", "cpu_ns", "tasks", "invocation")
)
IDLE = ServiceProperties("loaded", "inactive", "dead", "success", restarts=0, **UNKNOWN)


@dataclass
class Machine:
    """A unit whose next states are given, and the time that passes meanwhile."""

    report: Path
    states: list[ServiceProperties] = field(default_factory=lambda: [IDLE])
    jobs: list[tuple[str, str]] = field(default_factory=list)
    fails: bool = False
    steady: float = 0.0

    async def begin(self, verb: str, name: str) -> asyncio.Future[str]:
        self.jobs.append((verb, name))
        self.states.pop(0)
        return asyncio.get_running_loop().create_future()

    async def properties(self, name: str) -> ServiceProperties:
        assert name == "agency-backup.service"
        return self.states[0]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Machine]:
        if self.fails:
            raise SystemdError("no answer within 30 s", where="system bus")
        yield self

    async def pause(self, seconds: float) -> None:
        self.steady += seconds
        if len(self.states) > 1:
            self.states.pop(0)

    def succeed(self, at: int, size: int = 3 * 1024 * 1024) -> None:
        """Leave the report that the program itself leaves."""
        done = LastSuccess(repository="/x", snapshot="s", at=at, size=size)
        self.report.write_text(metrics(done))

    def desk(self, settings: BackupSettings | None = None) -> BackupDesk:
        settings = settings or BackupSettings(report=self.report)
        clock = Clock(lambda: float(NOW), lambda: self.steady)
        return BackupDesk(settings, clock, self.connected, self.pause)


def running(**changes: Any) -> ServiceProperties:
    return replace(IDLE, active_state="activating", sub_state="start", pid=7, **changes)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "agency-backup.prom")


def context(desk: BackupDesk) -> Any:
    class Ctx:
        class services:  # noqa: N801 - stands for the attribute
            backups = staticmethod(lambda: desk)

        step = staticmethod(say_nothing)

    return Ctx


async def shown(machine: Machine) -> Result:
    return await backups.show(context(machine.desk()))


async def test_a_machine_without_a_success_says_so(machine: Machine) -> None:
    assert (await shown(machine)).text == "No backup has succeeded yet."


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (0, "0 min ago;"),
        (7199, "119 min ago;"),
        (7200, "2 h ago;"),
        (26 * 3600, "26 h ago;"),
        (26 * 3600 + 1, "26 h ago, which is late;"),
        (-60, "0 min ago;"),  # the clock went back
    ],
)
async def test_the_last_success_is_told_with_its_age(
    machine: Machine, age_s: int, said: str
) -> None:
    machine.succeed(NOW - age_s)
    told = await shown(machine)
    assert said in told.text
    assert told.text.endswith("it read 3.0 MiB.")
    assert told.detail["size"] == 3 * 1024 * 1024


async def test_a_run_and_a_failure_after_a_success_are_told(machine: Machine) -> None:
    machine.succeed(NOW)
    machine.states = [running()]
    assert (await shown(machine)).text.endswith(" One runs now.")
    machine.states = [replace(IDLE, active_state="failed", result="exit-code")]
    told = (await shown(machine)).text
    assert "The run after it failed (exit-code); on the machine: journalctl -u agency-" in told


async def test_create_starts_the_unit_and_tells_its_end(machine: Machine) -> None:
    machine.succeed(NOW)
    machine.states = [IDLE, running(), running(), IDLE]
    told = await backups.create(context(machine.desk()))
    assert machine.jobs == [("StartUnit", "agency-backup.service")]
    assert told.text.startswith("The last backup succeeded at 2026-")
    assert told.detail["runs"] is False


async def test_a_long_backup_is_not_waited_for(machine: Machine) -> None:
    machine.states = [IDLE, running()]
    told = await backups.create(context(machine.desk()))
    assert told.text == "The backup has begun and goes on; `backups show` says how it ended."
    assert 20 <= machine.steady < 21


async def test_a_backup_that_fails_is_a_refusal(machine: Machine) -> None:
    machine.succeed(NOW - 60)
    machine.states = [IDLE, running(), replace(IDLE, active_state="failed", result="timeout")]
    with pytest.raises(RefusalError, match=r"the backup failed \(timeout\)"):
        await backups.create(context(machine.desk()))


async def test_a_second_one_is_not_started(machine: Machine) -> None:
    machine.states = [running()]
    with pytest.raises(BackupError, match="runs already"):
        await backups.create(context(machine.desk()))
    assert machine.jobs == []


async def test_an_agency_without_a_backup_says_how_to_get_one(machine: Machine) -> None:
    desk = BackupDesk(None, Clock(), machine.connected)
    for command in (backups.show, backups.create):
        with pytest.raises(BackupError, match="no backup") as caught:
            await command(context(desk))
        assert "docs/backup-restore.md" in str(caught.value.hint)
    assert machine.jobs == []


async def test_systemd_that_does_not_answer_is_named(machine: Machine) -> None:
    machine.fails = True
    for command in (backups.show, backups.create):
        with pytest.raises(BackupError, match="no answer within 30 s"):
            await command(context(machine.desk()))


@pytest.mark.parametrize("text", ["", "agency_backup_last_size_bytes 5\n", "\xff", "x" * 70_000])
async def test_a_report_that_says_nothing_is_no_success(machine: Machine, text: str) -> None:
    machine.report.write_bytes(text.encode("latin-1"))
    with pytest.raises(BackupError, match="report of the backup"):
        await shown(machine)
