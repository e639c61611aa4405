"""The machines of leases: guests of the host's Incus, each with one port led to its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.sandbox.lease import Lease, Size
from agency.spinup.guest.incus.client import Incus
from agency.spinup.guest.incus.daemon import host_socket, incus, own_daemon
from agency.spinup.guest.incus.model import InstanceSpec, Kind, Limits
from agency.spinup.guest.machines.hosting import Wanted, bring_in, choose_pool, decide
from agency.spinup.guest.machines.janitor import Held, Owner, Purpose, ours
from agency.spinup.guest.machines.machine import Guest
from agency.spinup.guest.materials.image import Image

_RUNNING_S = 120.0
_DEVICE = "url"

# Makes the image for a lease, held for as long as the block lasts.
HoldImage = Callable[[str], contextlib.AbstractAsyncContextManager[Image]]
# Has a booted guest run the source; returns the guest's loopback port that people shall reach.
Activate = Callable[[Guest, Path], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class IncusMachines:
    """Machines in Incus. What is in them is decided by `hold_image` and `activate`."""

    state: Path
    hold_image: HoldImage
    activate: Activate

    async def make(self, lease: Lease, size: Size, source: Path) -> int:
        """Make a machine that runs the source; returns the loopback port that leads to it."""
        owner = Owner(self.state, lease.name, Purpose.LEASE)
        async with self.hold_image(lease.name) as image, incus() as client:
            kind = decide(await client.server(), Wanted.CONTAINER).kind
            await bring_in(client, image)
            limits = Limits(size.memory_mb, size.cpus, disk_gb=size.disk_gb)
            pool = await choose_pool(client)
            spec = InstanceSpec(lease.guest, kind, image.fingerprint, pool, limits, owner.labels())
            guest = await Guest.create(client, spec)
            await guest.wait_running(timeout_s=_RUNNING_S)
            inner = await self.activate(guest, source)
            return await lead_to(client, guest, inner)

    async def destroy(self, name: str) -> None:
        """Remove the machine of that name and all that led to it; none is no error."""
        async with _found(self.state) as found:
            if found is None:
                return
            client, held = found
            for guest in held:
                if guest.instance.name == name:
                    await Guest.of(client, guest.instance).destroy()

    async def existing(self) -> frozenset[str]:
        """The names of all machines that were made for leases."""
        async with _found(self.state) as found:
            _, held = found or (None, ())
            return frozenset(one.instance.name for one in held if one.purpose is Purpose.LEASE)


@contextlib.asynccontextmanager
async def _found(state: Path) -> AsyncIterator[tuple[Incus, tuple[Held, ...]] | None]:
    """Our guests, and the Incus that holds them; None where there never was one."""
    if host_socket() is None and not own_daemon().directory.exists():
        yield None
        return
    async with incus() as client:
        yield client, ours(await client.instances(), state)


async def lead_to(client: Incus, guest: Guest, inner: int) -> int:
    """Have a free loopback port of the host lead to a port of the guest, as long as it lives."""
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
