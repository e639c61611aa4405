"""Machines of leases: guests of the host's Incus, each with one port forwarded to its own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.guests import (
    Guest,
    Held,
    Image,
    Incus,
    InstanceSpec,
    Kind,
    Limits,
    Owner,
    Purpose,
    WantedKind,
    bring_in,
    choose_pool,
    connect_incus,
    decide,
    host_socket,
    is_running,
    ours,
    own_daemon,
)
from agency.sandbox.lease import Lease, Size

_RUNNING_S = 120.0
_DEVICE = "url"

# Makes the image for a lease, held for as long as the block lasts.
HoldImage = Callable[[str], contextlib.AbstractAsyncContextManager[Image]]
# Whether that image is there already.
HasImage = Callable[[], bool]
# Has a booted guest run the source; returns the guest's loopback port that people shall reach.
Activate = Callable[[Guest, Path], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class IncusMachines:
    """Machines in Incus. `hold_image` and `activate` decide their contents.

    If `starts` is false, no Incus is started just to look: a stopped Incus runs no machine, and its
    leftovers are removed when it runs again.
    """

    state: Path
    hold_image: HoldImage
    activate: Activate
    has_image: HasImage = lambda: True
    starts: bool = True

    async def make(self, lease: Lease, size: Size, source: Path) -> int:
        """Make a machine that runs the source; return the loopback port that leads to it."""
        owner = Owner(self.state, lease.name, Purpose.LEASE)
        if os.geteuid() != 0 and not self.has_image():
            raise PrerequisiteError(
                "only root can build the guest's image",
                where="sandbox",
                hint="lease a machine once as root",
            )
        async with contextlib.AsyncExitStack() as held:
            # Incus first: it is there or not at once, and an image takes minutes.
            client = await held.enter_async_context(connect_incus())
            kind = decide(await client.server(), WantedKind.CONTAINER).kind
            pool = await choose_pool(client)
            image = await held.enter_async_context(self.hold_image(lease.name))
            await bring_in(client, image)
            limits = Limits(size.memory_mb, size.cpus, disk_gb=size.disk_gb)
            spec = InstanceSpec(lease.guest, kind, image.fingerprint, pool, limits, owner.labels())
            guest = await Guest.create(client, spec)
            await guest.wait_running(timeout_s=_RUNNING_S)
            inner = await self.activate(guest, source)
            return await lead_to(client, guest, inner)

    async def destroy(self, name: str) -> None:
        """Remove the machine of that name and its forwarded port; a missing one is no error."""
        async with self._found() as found:
            if found is None:
                return
            client, held = found
            for guest in held:
                if guest.instance.name == name:
                    await Guest.of(client, guest.instance).destroy()

    async def existing(self) -> frozenset[str]:
        """List the names of all machines that were made for leases."""
        async with self._found() as found:
            _, held = found or (None, ())
            return frozenset(one.instance.name for one in held if one.purpose is Purpose.LEASE)

    @contextlib.asynccontextmanager
    async def _found(self) -> AsyncIterator[tuple[Incus, tuple[Held, ...]] | None]:
        """Yield this state directory's guests and their Incus; None if there is no Incus to ask."""
        there = own_daemon().directory.exists() if self.starts else is_running()
        if host_socket() is None and not there:
            yield None
            return
        async with connect_incus() as client:
            yield client, ours(await client.instances(), self.state)


async def lead_to(client: Incus, guest: Guest, inner: int) -> int:
    """Forward a free loopback port of the host to a port of the guest, for the guest's life."""
    if guest.kind is not Kind.CONTAINER:
        raise PrerequisiteError(
            "a virtual machine without a network cannot be reached by a forwarded port",
            where=guest.name,
            hint="lease a container",
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    proxy = {
        "type": "proxy",
        "bind": "host",
        "listen": f"tcp:127.0.0.1:{port}",
        "connect": f"tcp:127.0.0.1:{inner}",
    }
    await client.add_device(guest.name, _DEVICE, proxy)
    return port
