"""systemd over D-Bus, as far as an activation needs it.

Source: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from agency.errors import PrerequisiteError
from agency.programs import ProgramError, run_program
from agency.spinup.guest.activation.changes import ActivationError

JOURNAL_LINES = 30
_SYSTEMD = "org.freedesktop.systemd1"
_ROOT = "/org/freedesktop/systemd1"
_MANAGER = f"{_SYSTEMD}.Manager"
_UNIT = f"{_SYSTEMD}.Unit"
_SERVICE = f"{_SYSTEMD}.Service"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_CALL_S = 30.0


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd sees it. `once` when it runs, ends, and is then inactive."""

    name: str
    load: str
    active: str
    sub: str
    once: bool = False
    stale: bool = False  # its definition on disk is another than the loaded one
    restarts: int = 0
    up_s: float = 0.0  # for how long it has been active

    @property
    def up(self) -> bool:
        """Whether it does what it is for."""
        return self.active in {"active", "reloading"}

    @property
    def retrying(self) -> bool:
        """Whether it ended and is about to be started again."""
        return self.sub.startswith("auto-restart")


class Systemd:
    """A connection to the system manager."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._ended: dict[str, str] = {}

    def hear(self, message: Message) -> None:
        """Take note of the ends of jobs."""
        if message.message_type is MessageType.SIGNAL and message.member == "JobRemoved":
            path, result = message.body[1], message.body[3]
            future = self._jobs.pop(path, None)
            if future is None:
                self._ended[path] = result
            elif not future.done():
                future.set_result(result)

    async def call(
        self, interface: str, member: str, signature: str = "", *body: Any, path: str = _ROOT
    ) -> list[Any]:
        """Call a method and return what it answers.

        Raises:
            ActivationError: an error, or no answer in time.
        """
        message = Message(
            destination=_SYSTEMD,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        where = f"systemd: {member}"
        try:
            reply = await asyncio.wait_for(self._bus.call(message), _CALL_S)
        except TimeoutError as error:
            raise ActivationError(f"no answer after {_CALL_S:g} s", where=where) from error
        if reply is None or reply.message_type is MessageType.ERROR:
            said = reply.body[0] if reply is not None and reply.body else "no message"
            raise ActivationError(str(said), where=where)
        return list(reply.body)

    async def reload(self) -> None:
        """Read all definitions anew."""
        await self.call(_MANAGER, "Reload")

    async def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        """How the units are."""
        listed = (await self.call(_MANAGER, "ListUnitsByNames", "as", list(names)))[0]
        found = {}
        for name, _, load, active, sub, _, path, *_ in listed:
            stale = bool(await self._property(path, _UNIT, "NeedDaemonReload"))
            once, restarts = False, 0
            since = await self._property(path, _UNIT, "ActiveEnterTimestampMonotonic")
            up_s = time.clock_gettime(time.CLOCK_MONOTONIC) - since / 1_000_000
            if name.endswith(".service") and load == "loaded":
                kind = await self._property(path, _SERVICE, "Type")
                stays = await self._property(path, _SERVICE, "RemainAfterExit")
                once = kind == "oneshot" and not stays
                restarts = await self._property(path, _SERVICE, "NRestarts")
            found[name] = UnitState(name, load, active, sub, once, stale, restarts, up_s)
        return found

    async def _property(self, path: str, interface: str, name: str) -> Any:
        value = (await self.call(_PROPERTIES, "Get", "ss", interface, name, path=path))[0]
        return value.value if isinstance(value, Variant) else value

    async def running(self, pattern: str) -> list[str]:
        """Names of the active units that match a shell pattern."""
        listed = (await self.call(_MANAGER, "ListUnitsByPatterns", "asas", ["active"], [pattern]))[
            0
        ]
        return sorted(one[0] for one in listed)

    async def enable(self, name: str) -> list[str]:
        """Start a unit with the machine from now on; the links that were made."""
        _, changes = await self.call(_MANAGER, "EnableUnitFiles", "asbb", [name], False, True)
        return [change[1] for change in changes]

    async def unmask(self, name: str) -> list[str]:
        """Undo a mask of this boot; the links that were removed."""
        changes = (await self.call(_MANAGER, "UnmaskUnitFiles", "asb", [name], True))[0]
        return [change[1] for change in changes]

    async def reset(self, name: str) -> None:
        """Forget that a unit failed; a unit that is not loaded has not."""
        with contextlib.suppress(ActivationError):
            await self.call(_MANAGER, "ResetFailedUnit", "s", name)

    async def begin(self, verb: str, name: str) -> asyncio.Future[str]:
        """Enqueue a job: StartUnit, StopUnit or RestartUnit; gives its result when it ended."""
        path = (await self.call(_MANAGER, verb, "ss", name, "replace"))[0]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if path in self._ended:
            future.set_result(self._ended.pop(path))
        else:
            self._jobs[path] = future
        return future

    async def do(self, verb: str, name: str, *, timeout_s: float) -> str:
        """Run one job to its end: its result, "done" when it went well."""
        future = await self.begin(verb, name)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return "timeout"


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Systemd]:
    """A connection to this machine's systemd.

    Raises:
        PrerequisiteError: there is none, or no message bus.
    """
    try:
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    except (OSError, EOFError) as error:
        raise PrerequisiteError(
            f"the system's message bus does not answer: {error}",
            where="D-Bus",
            hint="activation needs a machine that systemd has booted, with dbus",
        ) from error
    systemd = Systemd(bus)
    try:
        bus.add_message_handler(systemd.hear)
        await systemd.call(_MANAGER, "Subscribe")
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[rule],
            )
        )
        yield systemd
    finally:
        bus.disconnect()


def journal_tail(unit: str) -> tuple[str, ...]:
    """The end of a unit's journal of this boot, or why it cannot be had."""
    argv = [
        *("/usr/bin/journalctl", "--boot", "--no-pager", "--quiet", "--output=short-iso"),
        *(f"--lines={JOURNAL_LINES}", f"--unit={unit}"),
    ]
    try:
        return tuple(run_program(argv, timeout=_CALL_S).decode(errors="replace").splitlines())
    except (ProgramError, PrerequisiteError) as error:
        return (f"its journal cannot be read: {error.message}",)
