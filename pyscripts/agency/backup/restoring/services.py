"""Services that are stopped for a restore in place, and started after it.

What ran is written down before it is stopped, so that a second run after an interruption starts it
too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.settings import Strict, load
from agency.systemd import Units, connected

_STOP_S = 300.0
_START_S = 600.0
_RUNS = ("active", "activating", "reloading")


class Services(Protocol):
    """Units of this machine."""

    async def running(self, names: Sequence[str]) -> tuple[str, ...]:
        """List those of the units that run."""

    async def stop(self, name: str) -> None:
        """Stop a unit; raises AgencyError if it does not end."""

    async def start(self, name: str) -> None:
        """Start a unit; raises AgencyError if it fails."""


class Systemd:
    """The units of systemd on this machine."""

    def __init__(self, units: Units) -> None:
        self._units = units

    async def running(self, names: Sequence[str]) -> tuple[str, ...]:
        """List those of the units that run, or are about to."""
        states = await self._units.states(names)
        return tuple(name for name in names if name in states and states[name].active in _RUNS)

    async def stop(self, name: str) -> None:
        """Stop a unit, and wait for its end."""
        await self._units.stop(name, timeout_s=_STOP_S)

    async def start(self, name: str) -> None:
        """Start a unit, and wait until it runs."""
        await self._units.start(name, timeout_s=_START_S)


class NoServices:
    """A machine on which nothing has to be stopped."""

    async def running(self, names: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - the protocol
        """Nothing runs."""
        return ()

    async def stop(self, name: str) -> None:
        """Nothing to do."""

    async def start(self, name: str) -> None:
        """Nothing to do."""


class _Stopped(Strict):
    """Units that ran when the restore began, in the order in which they are stopped."""

    units: tuple[str, ...]


@asynccontextmanager
async def services(names: Sequence[str]) -> AsyncIterator[Services]:
    """Reach the services of this machine; without a unit to stop no bus is needed.

    Raises:
        SystemdError: there are units to stop, and systemd cannot be reached.
    """
    if not names:
        yield NoServices()
        return
    async with connected() as units:
        yield Systemd(units)


async def stop_all(reached: Services, names: Sequence[str], record: Path) -> tuple[str, ...]:
    """Stop the units; return those that ran, now or when an interrupted run began.

    Raises:
        PrerequisiteError: one cannot be stopped; those that were are started again.
    """
    earlier = _earlier(record)
    now = await reached.running(names)
    ran = tuple(name for name in names if name in {*earlier, *now})
    write_atomically(record, _Stopped(units=ran).model_dump_json().encode(), mode=0o600)
    for name in names:
        try:
            await reached.stop(name)
        except AgencyError as error:
            if name not in now:  # not on this machine, or not running
                continue
            await start_all(reached, ran)
            _forget(record)
            raise PrerequisiteError(
                f"cannot be stopped, and nothing was restored: {error.message}",
                where=name,
                hint=error.hint,
            ) from error
    left = await reached.running(names)
    if left:
        await start_all(reached, ran)
        raise PrerequisiteError(
            "runs again after it was stopped; nothing was restored",
            where=left[0],
            hint=f"see who starts it: systemctl status {left[0]}",
        )
    return ran


def _earlier(record: Path) -> tuple[str, ...]:
    return load(record, _Stopped).units if record.exists() else ()


def _forget(record: Path) -> None:
    record.unlink(missing_ok=True)


async def start_all(reached: Services, ran: Sequence[str]) -> None:
    """Start the units that ran, the last one stopped first, a socket before its service.

    Raises:
        AgencyError: one does not start.
    """
    for name in start_order(ran):
        await reached.start(name)


def start_order(stopped: Sequence[str]) -> tuple[str, ...]:
    """Order units for their start. systemd refuses a socket whose service runs already."""
    order: dict[str, None] = {}
    for name in reversed(stopped):
        socket = f"{name.removesuffix('.service')}.socket"
        order |= dict.fromkeys([socket] if socket in stopped else [])
        order[name] = None
    return tuple(order)
