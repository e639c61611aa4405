"""Leasing machines, so that a crash at any point leaves nothing that expiry does not remove.

A lease is in the store before its machine exists and leaves it after the machine has gone. While
it is being made, its maker holds the lock of its run; a lease that is being made by nobody is
removed like one that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.clock import Clock, new_id
from agency.errors import UsageError
from agency.sandbox.lease import Lease, Size, State
from agency.sandbox.source import Source, fetch
from agency.sandbox.store import Leases
from agency.spinup.guest.machines.locks import is_held
from agency.spinup.local import rundir


class Machines(Protocol):
    """What makes and removes the machines of leases."""

    async def make(self, lease: Lease, size: Size, source: Path) -> int:
        """Make a machine that runs the source; returns the loopback port that leads to it."""

    async def destroy(self, name: str) -> None:
        """Remove the machine of that name and all that led to it; none is no error."""

    async def existing(self) -> frozenset[str]:
        """The names of all machines that were made for leases."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Leases of one state directory."""

    leases: Leases
    machines: Machines
    state: Path
    clock: Clock
    new_name: Callable[[], str] = lambda: new_id("lease")

    @property
    def _runs(self) -> Path:
        return self.state / "runs"

    async def up(self, source: Source, ttl_s: float, size: Size) -> Lease:
        """Lease a machine that runs the source.

        Raises:
            NoRoomError: the bounds are reached.
            AgencyError: it could not be made; nothing of it is left.
        """
        await self.expire()
        name, now = self.new_name(), self.clock.wall()
        lease = Lease(
            name=name,
            source=source.asked,
            commit=source.commit,
            state=State.CREATING,
            created_at=now,
            expires_at=now + ttl_s,
            memory_mb=size.memory_mb,
            cpus=size.cpus,
            port=None,
        )
        run = rundir.create(self._runs, name)
        try:
            self.leases.add(lease)
            try:
                files = await asyncio.to_thread(fetch, source, run.path)
                port = await self.machines.make(lease, size, files)
                self.leases.ready(name, port)
            except BaseException:
                await self._remove(lease.name, lease.guest)
                raise
        finally:
            run.remove()
        found = self.leases.get(name)
        if found is None:
            raise UsageError("the lease was ended while it was being made", where=name)
        return found

    async def down(self, name: str) -> bool:
        """End a lease; returns whether there was one."""
        lease = self.leases.get(name)
        if lease is None:
            return False
        await self._remove(lease.name, lease.guest)
        return True

    async def expire(self) -> tuple[str, ...]:
        """End the leases whose time is up or whose maker died, and machines without a lease."""
        now = self.clock.wall()
        leases = self.leases.all()
        over = [lease for lease in leases if lease.expires_at <= now or self._abandoned(lease)]
        for lease in over:
            await self._remove(lease.name, lease.guest)
        known = {lease.guest for lease in self.leases.all()}
        orphans = sorted(await self.machines.existing() - known)
        for guest in orphans:
            await self.machines.destroy(guest)
        return (*(lease.name for lease in over), *orphans)

    def _abandoned(self, lease: Lease) -> bool:
        return lease.state is State.CREATING and not is_held(self._runs / lease.name / "lock")

    async def _remove(self, name: str, guest: str) -> None:
        await self.machines.destroy(guest)
        self.leases.remove(name)
