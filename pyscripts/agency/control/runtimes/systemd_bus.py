"""The few calls of systemd's D-Bus interface that a runtime needs.

Source: org.freedesktop.systemd1(5). Whether a call is allowed is decided by polkit, for the user
that makes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from agency.control.runtimes.base import AgentRuntimeError

_SYSTEMD = "org.freedesktop.systemd1"
_ROOT = "/org/freedesktop/systemd1"
_UNITS = f"{_ROOT}/unit"
_MANAGER = f"{_SYSTEMD}.Manager"
_UNIT = f"{_SYSTEMD}.Unit"
_SERVICE = f"{_SYSTEMD}.Service"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"
_UNKNOWN = 2**64 - 1  # what systemd says of a counter that is off
_MICRO = 1e-6
_REFUSED = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    "org.freedesktop.systemd1.UnitMasked",
)
_CLD_EXITED = 1  # waitid(2): how a process ended

Changed = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class UnitProperties:
    """What systemd says of a service now; None for what it does not count or know.

    Memory in bytes, processor time in nanoseconds, times in seconds since the epoch. Exit status:
    negative for the number of a signal.
    """

    load_state: str
    active_state: str
    sub_state: str
    result: str
    pid: int | None
    started_at: float | None
    exit_status: int | None
    restarts: int
    memory: int | None
    cpu_ns: int | None
    tasks: int | None
    invocation: str | None

    @property
    def running(self) -> bool:
        """Whether its main process runs, or is about to."""
        return self.pid is not None and self.active_state in (
            "active",
            "activating",
            "deactivating",
            "reloading",
        )

    @property
    def will_restart(self) -> bool:
        """Whether it ended and systemd is about to start it again."""
        return self.sub_state.startswith("auto-restart")


def properties_from(unit: Mapping[str, Any], service: Mapping[str, Any]) -> UnitProperties:
    """Read what GetAll gives for the interfaces Unit and Service, as plain values."""

    def known(value: int) -> int | None:
        return None if value == _UNKNOWN else value

    ended = service["ExecMainExitTimestamp"] > 0 and not service["MainPID"]
    exited = service["ExecMainCode"] == _CLD_EXITED
    status = service["ExecMainStatus"] if exited else -service["ExecMainStatus"]
    started = service["ExecMainStartTimestamp"]
    return UnitProperties(
        load_state=unit["LoadState"],
        active_state=unit["ActiveState"],
        sub_state=unit["SubState"],
        result=service["Result"],
        pid=service["MainPID"] or None,
        started_at=started * _MICRO if started else None,
        exit_status=status if ended else None,
        restarts=service["NRestarts"],
        memory=known(service["MemoryCurrent"]),
        cpu_ns=known(service["CPUUsageNSec"]),
        tasks=known(service["TasksCurrent"]),
        invocation=bytes(unit["InvocationID"]).hex() or None,
    )


class SystemdBus:
    """A connection to systemd, made when it is first needed and again when it was lost.

    `changed` is told of property changes of units, by the unit's object path.
    """

    def __init__(self, *, changed: Changed, timeout_s: float = 10.0) -> None:
        self._changed = changed
        self._timeout_s = timeout_s
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._results: dict[str, str] = {}  # of jobs that ended before their number was known

    async def start_unit(self, name: str, *, timeout_s: float) -> None:
        """Start a unit and wait until systemd is done.

        Raises:
            AgentRuntimeError: refused, failed, or not done in time.
        """
        await self._job("StartUnit", name, timeout_s)

    async def stop_unit(self, name: str, *, timeout_s: float) -> None:
        """Stop a unit and wait until systemd is done; see `start_unit`."""
        await self._job("StopUnit", name, timeout_s)

    async def reset_failed(self, name: str) -> None:
        """Forget that a unit failed and how often it was started; a unit not loaded is no error."""
        with contextlib.suppress(_NoSuchUnitError):
            await self._manager("ResetFailedUnit", name, "s", [name])

    async def path_of(self, name: str) -> str:
        """The object path of a unit, loaded where it is not."""
        return str((await self._manager("LoadUnit", name, "s", [name]))[0])

    async def properties(self, name: str) -> UnitProperties:
        """What systemd says of a service now."""
        path = await self.path_of(name)
        unit, service = [
            await self._call(name, path, _PROPERTIES, "GetAll", "s", [interface])
            for interface in (_UNIT, _SERVICE)
        ]
        return properties_from(_plain(unit[0]), _plain(service[0]))

    async def close(self) -> None:
        """Give up the connection."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()

    async def _job(self, method: str, name: str, timeout_s: float) -> None:
        job = str((await self._manager(method, name, "ss", [name, "replace"]))[0])
        if job in self._results:
            result = self._results.pop(job)
        else:
            waiting = self._jobs.setdefault(job, asyncio.get_running_loop().create_future())
            try:
                async with asyncio.timeout(timeout_s):
                    result = await waiting
            except TimeoutError as error:
                raise AgentRuntimeError(
                    f"systemd was not done with it within {timeout_s:g} s",
                    where=name,
                    hint="look at the unit's journal on the host",
                ) from error
            finally:
                self._jobs.pop(job, None)
        if result != "done":
            raise AgentRuntimeError(
                f"systemd could not do it: {result}",
                where=name,
                hint="look at the unit's journal on the host",
            )

    async def _manager(self, method: str, name: str, signature: str, body: list[Any]) -> list[Any]:
        return await self._call(name, _ROOT, _MANAGER, method, signature, body)

    async def _call(
        self, where: str, path: str, interface: str, method: str, signature: str, body: list[Any]
    ) -> list[Any]:
        bus = await self._connected()
        return await self._exchange(
            bus, where, _message(_SYSTEMD, path, interface, method, signature, body)
        )

    async def _exchange(self, bus: MessageBus, where: str, message: Message) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await bus.call(message)
        except TimeoutError as error:
            raise AgentRuntimeError(
                f"systemd did not answer within {self._timeout_s:g} s", where=where
            ) from error
        except (OSError, EOFError) as error:
            raise AgentRuntimeError("the connection to systemd broke", where=where) from error
        if reply is None:
            raise AgentRuntimeError("systemd did not answer", where=where)
        if reply.message_type is MessageType.ERROR:
            raise _refusal(where, reply)
        return list(reply.body)

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            self._abandon_jobs()
            try:
                async with asyncio.timeout(self._timeout_s):
                    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            except (OSError, TimeoutError, EOFError) as error:
                raise AgentRuntimeError(
                    f"the system bus cannot be reached: {error}",
                    where="D-Bus",
                    hint="this runtime needs systemd and its message bus",
                ) from error
            bus.add_message_handler(self._heard)
            for rule in _MATCHES:
                await self._exchange(
                    bus,
                    "D-Bus",
                    _message(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", [rule]),
                )
            await self._exchange(bus, "D-Bus", _message(_SYSTEMD, _ROOT, _MANAGER, "Subscribe"))
            self._bus = bus
            return bus

    def _abandon_jobs(self) -> None:
        for waiting in self._jobs.values():
            if not waiting.done():
                waiting.set_result("lost with the connection")
        self._results.clear()

    def _heard(self, message: Message) -> None:
        """Take in a signal; called on the event loop, in the order in which systemd sent them."""
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved":
            _, job, _, result = message.body
            waiting = self._jobs.get(job)
            if waiting is None:
                self._results[job] = result
                while len(self._results) > _MAX_RESULTS:
                    self._results.pop(next(iter(self._results)))
            elif not waiting.done():
                waiting.set_result(result)
        elif message.member == "PropertiesChanged" and message.path:
            self._changed(message.path, _plain(message.body[1]))


_MAX_RESULTS = 256  # jobs of everyone are announced; ours is asked for at once
_MATCHES = (
    f"type='signal',sender='{_SYSTEMD}',member='JobRemoved',interface='{_MANAGER}'",
    f"type='signal',sender='{_SYSTEMD}',member='PropertiesChanged',path_namespace='{_UNITS}'",
)


class _NoSuchUnitError(AgentRuntimeError):
    """systemd does not know the unit."""


def _refusal(where: str, reply: Message) -> AgentRuntimeError:
    said = str(reply.body[0]) if reply.body else str(reply.error_name)
    if reply.error_name == "org.freedesktop.systemd1.NoSuchUnit":
        return _NoSuchUnitError(said, where=where, hint="is the unit's file on this host?")
    if reply.error_name in _REFUSED:
        hint = "the polkit rule of the control plane allows it its agents' units alone"
        return AgentRuntimeError(f"systemd refuses: {said}", where=where, hint=hint)
    return AgentRuntimeError(f"systemd refuses: {said}", where=where)


def _message(
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: list[Any] | None = None,
) -> Message:
    return Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=body or [],
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: variant.value for key, variant in values.items()}
