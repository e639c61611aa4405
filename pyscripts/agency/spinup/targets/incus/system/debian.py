"""Debian as a guest's system: libraries, source, and `agency activate` with the export."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.guests import (
    INSTANCE,
    PORTABLE,
    PREFIX,
    PROGRAM,
    Debs,
    Guest,
    Image,
    Materials,
    ProviderPack,
    default_recipe,
    hold_debs,
    hold_materials,
    install_debs,
    load_definitions,
    provision,
)
from agency.instance import LoadedInstance
from agency.machine import Machine, run
from agency.secrets import AgeKey
from agency.spinup.convergence import Activator, Converging, debian_tamperings
from agency.spinup.expected import by_definitions
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.system import Ground, GuestSystem, Programs, Provisioned

REQUIREMENTS = Path("requirements") / "guest.txt"
PROGRAMS = Programs(PROGRAM, str(PREFIX / "bin" / "python"), "/usr/bin/node")


@contextlib.asynccontextmanager
async def hold_debian(ground: Ground) -> AsyncIterator[GuestSystem]:
    """See Hold.

    Raises:
        PrerequisiteError: rights, programs, files or disk space are missing.
        BuildError: something cannot be built; its `log_tail` says why.
    """
    async with (
        hold_materials(
            ground.base,
            default_recipe(ground.kind),
            requirements=ground.source / REQUIREMENTS,
            source=ground.source,
            marker=ground.marker,
        ) as materials,
        _debs(ground, materials) as debs,
    ):
        yield DebianSystem(materials, ground, debs, materials.image, materials.provider)


@contextlib.asynccontextmanager
async def _debs(ground: Ground, materials: Materials) -> AsyncIterator[Debs | None]:
    if not ground.packages:
        yield None
        return
    packages, recipe = ground.packages, materials.recipe
    async with hold_debs(
        *(ground.base, recipe, materials.image, packages),
        unpacked=ground.unpacked,
        marker=ground.marker,
    ) as debs:
        yield debs


@dataclass(frozen=True, slots=True)
class DebianSystem:
    """See GuestSystem."""

    materials: Materials
    ground: Ground
    debs: Debs | None
    image: Image
    provider: ProviderPack
    programs: Programs = PROGRAMS

    def image_facts(self) -> Evidence:
        """See GuestSystem: the wheels that go with it, and every package that is in it."""
        return {
            "wheelhouse": self.materials.python_digest(),
            "packages": dict(self.image.packages),
            **({"debs": self.debs.facts()} if self.debs else {}),
        }

    async def provision(
        self, guest: Guest, loaded: LoadedInstance, key: AgeKey, *, timeout_s: float
    ) -> Provisioned:
        """See GuestSystem."""
        portable, parts = self.ground.source / "modules" / "portable", self.ground.parts
        definitions = await asyncio.to_thread(load_definitions, portable, loaded.root, parts)
        python = await provision(guest, self.materials, portable, loaded.root, key)
        if self.debs is not None:
            await install_debs(guest, self.debs)
        activator = Activator(guest, PROGRAM, str(PORTABLE), str(INSTANCE), timeout_s, parts)
        expected = by_definitions(definitions)
        return Provisioned(
            lambda: packages(guest, python),
            Converging(guest, activator, debian_tamperings(guest), expected),
        )


async def packages(machine: Machine, python: Mapping[str, str]) -> Evidence:
    """List what dpkg knows, beside the packages of the agency's environment."""
    listed = await run(machine, "dpkg-query", "--show", "--showformat=${Package} ${Version}\n")
    system = dict(line.split(" ", 1) for line in listed.decode().splitlines())
    return {"system": system, "python": dict(python)}
