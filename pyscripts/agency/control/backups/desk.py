"""Desk for the machine's backup: when it last succeeded, whether it runs, and starting it.

The backup itself is a unit that root runs (`agency backup create`); the control plane may start it
and read two numbers that it leaves for Prometheus, and nothing more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.clock import Clock
from agency.control.backups.settings import BackupSettings
from agency.errors import AgencyError
from agency.settings import read_bounded
from agency.systemd import ServiceProperties, SystemdError, connected

_MOST = 64 * 1024
_NUMBER = re.compile(r"^(agency_backup_[a-z_]+) ([0-9]{1,20})$", re.MULTILINE)
_AT = "agency_backup_last_success_timestamp_seconds"
_SIZE = "agency_backup_last_size_bytes"
_LOOK_S = 0.5  # between two looks at a unit that was started
_RUNS = ("activating", "active", "reloading", "deactivating")
_ON_MACHINE = "on the machine: journalctl -u {unit}"


class BackupError(AgencyError):
    """This machine has no backup, or it cannot be seen or started."""


class BackupUnits(Protocol):
    """The calls of systemd that the desk makes; see agency.systemd.Units."""

    async def begin(self, verb: str, name: str) -> asyncio.Future[str]:
        """Enqueue a job."""

    async def properties(self, name: str) -> ServiceProperties:
        """Read the properties of a service."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The last backup that succeeded: seconds since the epoch, and the bytes that it read."""

    at: int
    size: int


@dataclass(frozen=True, slots=True)
class BackupState:
    """State of the backup. `result` is systemd's word on the last run of the unit."""

    runs: bool
    result: str
    last: LastBackup | None

    @property
    def failed(self) -> bool:
        """True if the last run failed."""
        return not self.runs and self.result != "success"


class BackupDesk:
    """The machine's backup, seen and started through systemd."""

    def __init__(
        self,
        settings: BackupSettings | None,
        clock: Clock,
        units: Callable[[], AbstractAsyncContextManager[BackupUnits]] = connected,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._units = units
        self._pause = pause

    @property
    def max_age_s(self) -> int:
        """The age in seconds after which the newest backup is late."""
        return self._there().max_age_hours * 3600

    def age_s(self, last: LastBackup) -> int:
        """Return the age of a backup in seconds; never negative, whatever the clock did."""
        return max(0, int(self._clock.wall()) - last.at)

    async def look(self) -> BackupState:
        """Look at the unit and at what its last success left.

        Raises:
            BackupError: this machine has no backup, or systemd does not answer.
        """
        async with self._asked() as units:
            return await self._seen(units)

    async def begin(self, wait_s: float) -> BackupState:
        """Start the unit, and wait at most `wait_s` seconds for its end.

        Raises:
            BackupError: there is no backup, it runs already, or systemd does not start it.
        """
        async with self._asked() as units:
            if (await self._seen(units)).runs:
                raise BackupError(
                    "a backup runs already", hint="`backups show` says when it has ended"
                )
            await units.begin("StartUnit", self._there().unit)
            deadline = self._clock.steady() + wait_s
            state = await self._seen(units)
            while state.runs and self._clock.steady() < deadline:
                await self._pause(_LOOK_S)
                state = await self._seen(units)
            return state

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[BackupUnits]:
        """Connect to systemd; what it refuses is an error about the backup."""
        settings = self._there()
        try:
            async with self._units() as units:
                yield units
        except SystemdError as error:
            raise BackupError(
                f"systemd refused: {error}", where=settings.unit, hint=self.journal()
            ) from error

    async def _seen(self, units: BackupUnits) -> BackupState:
        settings = self._there()
        seen = await units.properties(settings.unit)
        return BackupState(seen.active_state in _RUNS, seen.result, self._last(settings.report))

    def journal(self) -> str:
        """Return where a person reads why a run failed."""
        return _ON_MACHINE.format(unit=self._there().unit)

    def _there(self) -> BackupSettings:
        if self._settings is None:
            raise BackupError(
                "this agency has no backup",
                hint="set `backup: {repository: ...}` in instance.yaml: docs/backup-restore.md",
            )
        return self._settings

    def _last(self, report: Path) -> LastBackup | None:
        """Read the last success; None if none is on record."""
        if not report.exists():
            return None
        try:
            text = read_bounded(report, most=_MOST, what="the report of the backup").decode()
        except (AgencyError, UnicodeDecodeError) as error:
            raise BackupError(
                f"the report of the backup cannot be read: {error}", where=str(report)
            ) from error
        found = dict(_NUMBER.findall(text))
        if _AT not in found or _SIZE not in found:
            raise BackupError(
                "the report of the backup says no time or size",
                where=str(report),
                hint=self.journal(),
            )
        return LastBackup(int(found[_AT]), int(found[_SIZE]))
