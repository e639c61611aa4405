"""Maker of a run's guest: its kind and system, its image, and the machine itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.guests import (
    Decision,
    Guest,
    Incus,
    InstanceSpec,
    Owner,
    Server,
    bring_in,
    choose_pool,
    decide,
    sweep,
)
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.parts import Part
from agency.spinup.targets.incus.system import Ground, GuestSystem, Hold
from agency.spinup.targets.incus.system.choice import (
    System,
    SystemDecision,
    choose_system,
    look_at_host,
)
from agency.spinup.targets.incus.system.debian import hold_debian
from agency.spinup.targets.incus.system.nixos import hold_nixos

HOLD: Mapping[System, Hold] = {System.DEBIAN: hold_debian, System.NIXOS: hold_nixos}


@dataclass(frozen=True, slots=True)
class Made:
    """Materials of a guest, and every choice on the way."""

    server: Server
    decision: Decision
    choice: SystemDecision
    pool: str
    system: GuestSystem


@dataclass(frozen=True, slots=True)
class Maker:
    """Maker of one run's guest. `base` keeps images and wheels, `source` is the checkout."""

    incus: Incus
    base: Path
    source: Path
    owner: Owner
    config: Config
    parts: Sequence[Part] = ()

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Made]:
        """Hold everything that the guest is made from for the block; make what is missing.

        What killed runs left half-made is removed, in the caches that are not needed too.

        Raises:
            PrerequisiteError: what is wanted cannot run here, or something it needs is missing.
            BuildError: something cannot be built; its `log_tail` says why.
        """
        await asyncio.to_thread(sweep, self.base)
        server = await self.incus.server()
        decision = decide(server, self.config.kind)
        host = look_at_host(self.base, self.source, decision.kind)
        choice = choose_system(host, self.config.system)
        pool = await choose_pool(self.incus, self.config.pool)
        exported = tuple(part.name for part in self.parts if part.exported)
        installed = {name for part in self.parts for name in part.packages}
        unpacked = {name for part in self.parts for name in part.unpacked} - installed
        ground = Ground(
            *(self.base, self.source, decision.kind, self.owner.run),
            *(exported, tuple(sorted(installed | unpacked)), frozenset(unpacked)),
        )
        async with HOLD[choice.system](ground) as system:
            await bring_in(self.incus, system.image)
            yield Made(server, decision, choice, pool, system)

    async def create(self, made: Made) -> Guest:
        """Make and start the machine; it boots when this returns.

        Raises:
            IncusError: it could not be made or started; nothing of it is left.
        """
        spec = InstanceSpec(
            self.owner.instance,
            made.decision.kind,
            made.system.image.fingerprint,
            made.pool,
            self.config.limits,
            self.owner.labels(),
        )
        return await Guest.create(self.incus, spec)
