"""Units of this machine: their state, and starting, stopping and enabling them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from dbus_fast import Variant

from agency.systemd.connection import PROPERTIES, SERVICE, UNIT, Connection, plain
from agency.systemd.errors import JobError, NoSuchUnitError
from agency.systemd.jobs import DONE
from agency.systemd.service import (
    ServiceProperties,
    UnitState,
    service_properties,
    tells_readiness,
)

TIMED_OUT = "timeout"
_ENDED = ("inactive", "failed")
_EVERY_UNIT = "systemd"  # where a call that is about no unit of its own belongs
_LOOK = "look at the unit's journal on that machine"


class Units:
    """The units of this machine. Every call may raise SystemdError, with the unit's name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self, name: str, *, timeout_s: float) -> None:
        """Start a unit and wait until systemd is done.

        Raises:
            SystemdError: refused. JobError: failed, or not done in time.
        """
        await self._run("StartUnit", name, timeout_s)

    async def stop(self, name: str, *, timeout_s: float) -> None:
        """Stop a unit and wait until systemd is done; see `start`."""
        await self._run("StopUnit", name, timeout_s)

    async def begin(self, verb: str, name: str) -> asyncio.Future[str]:
        """Enqueue a job (StartUnit, StopUnit or RestartUnit); return an awaitable of its result."""
        job = (await self._connection.manager(verb, "ss", name, "replace", where=name))[0]
        return self._connection.jobs.end_of(job)

    async def do(self, verb: str, name: str, *, timeout_s: float) -> str:
        """Run one job to its end and return its result: "done" on success, "timeout" when late."""
        future = await self.begin(verb, name)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return TIMED_OUT

    async def _run(self, verb: str, name: str, timeout_s: float) -> None:
        result = await self.do(verb, name, timeout_s=timeout_s)
        if result == TIMED_OUT:
            raise JobError(
                f"systemd did not finish the job within {timeout_s:g} s", where=name, hint=_LOOK
            )
        if result != DONE:
            raise JobError(f"the job ended with the result {result}", where=name, hint=_LOOK)

    async def reset_failed(self, name: str) -> None:
        """Reset a unit's failed state and its count of starts; an unloaded unit is no error."""
        with contextlib.suppress(NoSuchUnitError):
            await self._connection.manager("ResetFailedUnit", "s", name, where=name)

    async def reload(self) -> None:
        """Read all unit definitions again."""
        await self._connection.manager("Reload", where=_EVERY_UNIT)

    async def enable(self, name: str) -> list[str]:
        """Start a unit at every boot from now on; return the links that were made."""
        _, changes = await self._connection.manager(
            "EnableUnitFiles", "asbb", [name], False, True, where=name
        )
        return [change[1] for change in changes]

    async def unmask(self, name: str) -> list[str]:
        """Undo a mask of this boot; return the links that were removed."""
        answer = await self._connection.manager("UnmaskUnitFiles", "asb", [name], True, where=name)
        return [change[1] for change in answer[0]]

    async def path_of(self, name: str) -> str:
        """Get the object path of a unit, loading the unit where it is not loaded."""
        return str((await self._connection.manager("LoadUnit", "s", name, where=name))[0])

    async def properties(self, name: str) -> ServiceProperties:
        """Read the properties of a service."""
        path = await self.path_of(name)
        unit, service = [
            await self._connection.call(PROPERTIES, "GetAll", "s", interface, path=path, where=name)
            for interface in (UNIT, SERVICE)
        ]
        return service_properties(plain(unit[0]), plain(service[0]))

    async def running(self, pattern: str) -> list[str]:
        """List the active units whose name matches a shell pattern."""
        return sorted(one[0] for one in await self._matching(pattern, "active", "reloading"))

    async def unended(self, pattern: str) -> list[str]:
        """List the units that match a shell pattern and run, or would start again by themselves.

        This includes a unit that waits for its next start.
        """
        return sorted(one[0] for one in await self._matching(pattern) if one[3] not in _ENDED)

    async def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        """Read the states of units, by name."""
        found = {}
        for name, _, load, active, sub, _, path, *_ in await self._listed(names):
            found[name] = await self._state(name, load, active, sub, path)
        return found

    async def failed(self, names: Iterable[str]) -> list[str]:
        """List the units that have failed, or have ended and are about to be started again."""
        brief = (
            UnitState(name, load, active, sub)
            for name, _, load, active, sub, *_ in await self._listed(names)
        )
        return [unit.name for unit in brief if unit.active == "failed" or unit.retrying]

    async def _matching(self, pattern: str, *states: str) -> list[Any]:
        """List loaded units by a shell pattern: those in one of the states, or in any state."""
        answer = await self._connection.manager(
            "ListUnitsByPatterns", "asas", [*states], [pattern], where=pattern
        )
        return list(answer[0])

    async def _listed(self, names: Iterable[str]) -> list[Any]:
        wanted = [*names]
        if not wanted:
            return []
        answer = await self._connection.manager("ListUnitsByNames", "as", wanted, where=_EVERY_UNIT)
        return list(answer[0])

    async def _state(self, name: str, load: str, active: str, sub: str, path: str) -> UnitState:
        async def get(interface: str, key: str) -> Any:
            answer = await self._connection.call(
                PROPERTIES, "Get", "ss", interface, key, path=path, where=name
            )
            return answer[0].value if isinstance(answer[0], Variant) else answer[0]

        stale = bool(await get(UNIT, "NeedDaemonReload"))
        since = await get(UNIT, "ActiveEnterTimestampMonotonic")
        up_s = time.clock_gettime(time.CLOCK_MONOTONIC) - since / 1_000_000
        once, restarts, tells = False, 0, True
        if name.endswith(".service") and load == "loaded":
            kind = await get(SERVICE, "Type")
            once = kind == "oneshot" and not await get(SERVICE, "RemainAfterExit")
            tells = tells_readiness(kind)
            restarts = await get(SERVICE, "NRestarts")
        return UnitState(name, load, active, sub, once, stale, restarts, up_s, tells)


@contextlib.asynccontextmanager
async def connected(*, timeout_s: float = 30.0) -> AsyncIterator[Units]:
    """Connect to the units of this machine.

    Raises:
        NoBusError: there is no system bus.
    """
    connection = Connection(timeout_s=timeout_s)
    await connection.open()
    try:
        yield Units(connection)
    finally:
        await connection.close()
