"""Leasing of machines, such that expiry removes the leftovers of a crash at any point.

A lease enters the store before its machine exists, and leaves it after the machine is removed.
While the machine is being made, its maker holds the lock of its run; expiry removes an unfinished
lease without that lock like one that has ended. It also removes a machine without a lease: one made
for a lease that was ended meanwhile, or one left in an Incus that did not run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agency import rundir
from agency.clock import Clock, new_id
from agency.errors import AgencyError, UsageError
from agency.locks import is_held
from agency.sandbox.lease import Lease, Size, State
from agency.sandbox.source import Source, fetch
from agency.sandbox.store import Leases, NoRoomError


class Machines(Protocol):
    """Maker and remover of the machines of leases."""

    async def make(self, lease: Lease, size: Size, source: Path) -> int:
        """Make a machine that runs the source; return the loopback port that leads to it."""

    async def destroy(self, name: str) -> None:
        """Remove the machine of that name and its forwarded port; a missing one is no error."""

    async def existing(self) -> frozenset[str]:
        """List the names of all machines that were made for leases."""


class ExpiryError(AgencyError):
    """An ended lease that could not be removed; the others were."""


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
            NoRoomError: the limits are reached.
            AgencyError: it could not be made; nothing of it is left.
        """
        kept = await self._expire_what_can_be()
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
            self._add(lease, kept)
            try:
                files = await asyncio.to_thread(fetch, source, run.path)
                port = await self.machines.make(lease, size, files)
                self._ready(name, port)
            except BaseException:
                await self._remove(lease.name, lease.guest)
                raise
        finally:
            run.remove()
        return replace(lease, state=State.READY, port=port)

    async def _expire_what_can_be(self) -> ExpiryError | None:
        """End every lease that is over; a failure with one does not stop the others."""
        try:
            await self.expire()
        except ExpiryError as error:
            return error
        return None

    def _add(self, lease: Lease, kept: ExpiryError | None) -> None:
        try:
            self.leases.add(lease)
        except NoRoomError as error:
            if kept is None:
                raise
            raise NoRoomError(
                f"{error.message}; {kept.message}", where=kept.where, hint=error.hint
            ) from error

    def _ready(self, name: str, port: int) -> None:
        if not self.leases.ready(name, port):
            raise UsageError("the lease was ended while it was being made", where=name)

    async def down(self, name: str) -> bool:
        """End a lease; return whether it existed."""
        lease = self.leases.get(name)
        if lease is None:
            return False
        await self._remove(lease.name, lease.guest)
        return True

    async def expire(self) -> tuple[str, ...]:
        """End the leases whose time is up or whose maker died, and machines without a lease.

        Raises:
            ExpiryError: some could not be ended; each was tried.
        """
        now = self.clock.wall()
        over = [
            lease
            for lease in self.leases.all()
            if lease.expires_at <= now or self._abandoned(lease)
        ]
        ended: list[str] = []
        failed: dict[str, AgencyError] = {}
        for lease in over:
            try:
                await self._remove(lease.name, lease.guest)
                ended.append(lease.name)
            except AgencyError as error:
                failed[lease.name] = error
        try:
            # In this order: a lease is there before its machine.
            there = await self.machines.existing()
            known = {lease.guest for lease in self.leases.all()}
        except AgencyError as error:
            failed["machines without a lease"] = error
            there, known = frozenset(), set()
        for guest in sorted(there - known):
            try:
                await self.machines.destroy(guest)
                ended.append(guest)
            except AgencyError as error:
                failed[guest] = error
        try:
            rundir.reap(self._runs)
        except OSError as error:
            failed[str(self._runs)] = AgencyError(f"cannot be cleared: {error.strerror}")
        if failed:
            raise _expiry_error(failed)
        return tuple(ended)

    def _abandoned(self, lease: Lease) -> bool:
        return lease.state is State.CREATING and not is_held(self._runs / lease.name / "lock")

    async def _remove(self, name: str, guest: str) -> None:
        await self.machines.destroy(guest)
        self.leases.remove(name)


def _expiry_error(failed: dict[str, AgencyError]) -> ExpiryError:
    reasons = "; ".join(f"{what}: {error.message}" for what, error in failed.items())
    return ExpiryError(
        f"some leases that are over could not be removed: {reasons}",
        where="sandbox",
        hint=next(iter(failed.values())).hint or "the others were removed; examine Incus",
    )
