"""Connection to systemd over the system bus.

Source: org.freedesktop.systemd1(5). polkit decides whether the calling user may make a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from agency.systemd.errors import NoBusError, NoSuchUnitError, RefusedError, SystemdError
from agency.systemd.jobs import Jobs

SYSTEMD = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"
UNIT = f"{SYSTEMD}.Unit"
SERVICE = f"{SYSTEMD}.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"
_JOBS = f"type='signal',sender='{SYSTEMD}',member='JobRemoved',interface='{MANAGER}'"
_CHANGES = (
    f"type='signal',sender='{SYSTEMD}',member='PropertiesChanged',path_namespace='{ROOT}/unit'"
)
_REFUSED = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    "org.freedesktop.systemd1.UnitMasked",
)

Changed = Callable[[str, Mapping[str, Any]], None]


class Connection:
    """Connection to systemd, made at first use and again after a loss.

    `changed` receives the object path of a unit whose properties changed. No call takes longer than
    `timeout_s` seconds.
    """

    def __init__(self, *, changed: Changed | None = None, timeout_s: float = 10.0) -> None:
        self.jobs = Jobs()
        self._changed = changed
        self._timeout_s = timeout_s
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Connect, unless connected already.

        Raises:
            NoBusError: there is no system bus. SystemdError: there is no systemd on it.
        """
        await self._connected()

    async def close(self) -> None:
        """Close the connection."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()

    async def manager(self, method: str, signature: str = "", *body: Any, where: str) -> list[Any]:
        """Call a method of the manager; `where` is the unit that the call concerns."""
        return await self.call(MANAGER, method, signature, *body, path=ROOT, where=where)

    async def call(
        self, interface: str, method: str, signature: str = "", *body: Any, path: str, where: str
    ) -> list[Any]:
        """Call a method and return its answer.

        Raises:
            SystemdError: refused, unknown, or no answer in time.
        """
        bus = await self._connected()
        message = _message(SYSTEMD, path, interface, method, signature, [*body])
        return await self._exchange(bus, where, message)

    async def _exchange(self, bus: MessageBus, where: str, message: Message) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await bus.call(message)
        except TimeoutError as error:
            raise SystemdError(
                f"systemd did not answer within {self._timeout_s:g} s", where=where
            ) from error
        except (OSError, EOFError) as error:
            raise SystemdError("the connection to systemd broke", where=where) from error
        if reply is None:
            raise SystemdError("systemd did not answer", where=where)
        if reply.message_type is MessageType.ERROR:
            raise _error_of(where, reply)
        return list(reply.body)

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            self.jobs.abandon()
            try:
                async with asyncio.timeout(self._timeout_s):
                    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            except (OSError, TimeoutError, EOFError) as error:
                raise NoBusError(
                    f"the system bus cannot be reached: {error}",
                    where="D-Bus",
                    hint="this needs a machine that systemd has booted, with its message bus",
                ) from error
            try:
                await self._listen(bus)
            except BaseException:
                bus.disconnect()
                raise
            self._bus = bus
            return bus

    async def _listen(self, bus: MessageBus) -> None:
        bus.add_message_handler(self._heard)
        for rule in (_JOBS,) if self._changed is None else (_JOBS, _CHANGES):
            message = _message(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", [rule])
            await self._exchange(bus, "D-Bus", message)
        await self._exchange(bus, "D-Bus", _message(SYSTEMD, ROOT, MANAGER, "Subscribe"))

    def _heard(self, message: Message) -> None:
        """Handle a signal; called on the event loop, in the order in which systemd sent them."""
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved":
            _, job, _, result = message.body
            self.jobs.announce(job, result)
        elif message.member == "PropertiesChanged" and message.path and self._changed:
            self._changed(message.path, plain(message.body[1]))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert properties to plain values, without their D-Bus types."""
    return {
        key: value.value if isinstance(value, Variant) else value for key, value in values.items()
    }


def _error_of(where: str, reply: Message) -> SystemdError:
    said = str(reply.body[0]) if reply.body else str(reply.error_name)
    if reply.error_name == "org.freedesktop.systemd1.NoSuchUnit":
        return NoSuchUnitError(said, where=where, hint="is the unit's file on this machine?")
    if reply.error_name in _REFUSED:
        hint = "check polkit's rules for this user and unit"
        return RefusedError(f"systemd refuses: {said}", where=where, hint=hint)
    return SystemdError(f"systemd refuses: {said}", where=where)


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
