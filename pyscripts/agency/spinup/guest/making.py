"""Making a run's guest: what it will be, its image, and the machine itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.spinup.guest.hosting import Decision, bring_in, choose_pool, decide
from agency.spinup.guest.incus.client import Incus
from agency.spinup.guest.incus.model import InstanceSpec, Server
from agency.spinup.guest.janitor import Owner
from agency.spinup.guest.machine import Guest
from agency.spinup.guest.materials.prepare import Materials, hold_materials
from agency.spinup.guest.materials.recipe import default_recipe
from agency.spinup.guest.systems import System, SystemDecision, choose_system, look_at_host
from agency.spinup.guest.wishes import Wishes

REQUIREMENTS = Path("requirements") / "guest.txt"


@dataclass(frozen=True, slots=True)
class Made:
    """What a guest is made from, and every choice on the way."""

    server: Server
    decision: Decision
    system: SystemDecision
    pool: str
    materials: Materials


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the guest of one run. `base` keeps images and wheels, `source` is the checkout."""

    incus: Incus
    base: Path
    source: Path
    owner: Owner
    wishes: Wishes

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Made]:
        """Everything that the guest is made from, made where it is missing; held by the block.

        Raises:
            PrerequisiteError: what is wanted cannot run here, or something it needs is missing.
            BuildError: something cannot be built; its `log_tail` says why.
        """
        server = await self.incus.server()
        decision = decide(server, self.wishes.kind)
        host = look_at_host(self.base, self.source, decision.kind)
        system = choose_system(host, self.wishes.system)
        if system.system is System.NIXOS:
            raise PrerequisiteError(
                "a spin-up of a NixOS guest is not written",
                where="--image nixos",
                hint="use --image debian, or --target ssh after a switch",
            )
        pool = await choose_pool(self.incus, self.wishes.pool)
        async with hold_materials(
            self.base,
            default_recipe(decision.kind),
            requirements=self.source / REQUIREMENTS,
            source=self.source,
            marker=self.owner.run,
        ) as materials:
            await bring_in(self.incus, materials.image)
            yield Made(server, decision, system, pool, materials)

    async def create(self, made: Made) -> Guest:
        """Make and start the machine; it boots when this returns.

        Raises:
            IncusError: it could not be made or started; nothing of it is left.
        """
        spec = InstanceSpec(
            self.owner.instance,
            made.decision.kind,
            made.materials.image.fingerprint,
            made.pool,
            self.wishes.limits,
            self.owner.labels(),
        )
        return await Guest.create(self.incus, spec)
