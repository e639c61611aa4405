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
    Cargo,
    Guest,
    Image,
    Materials,
    ProviderPack,
    default_recipe,
    hold_materials,
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
    async with hold_materials(
        ground.base,
        default_recipe(ground.kind),
        requirements=ground.source / REQUIREMENTS,
        source=ground.source,
        marker=ground.marker,
    ) as materials:
        yield DebianSystem(materials, ground.source)


@dataclass(frozen=True, slots=True)
class DebianSystem:
    """See GuestSystem."""

    materials: Materials
    source: Path

    @property
    def image(self) -> Image:
        """See GuestSystem."""
        return self.materials.image

    @property
    def provider(self) -> ProviderPack:
        """See GuestSystem."""
        return self.materials.provider

    @property
    def programs(self) -> Programs:
        """See GuestSystem."""
        return PROGRAMS

    def image_facts(self) -> Evidence:
        """See GuestSystem: the wheels that go with it, and every package that is in it."""
        return {
            "wheelhouse": self.materials.python_digest(),
            "packages": dict(self.image.packages),
        }

    async def provision(
        self, guest: Guest, loaded: LoadedInstance, key: AgeKey, *, timeout_s: float
    ) -> Provisioned:
        """See GuestSystem."""
        portable = self.source / "modules" / "portable"
        definitions = await asyncio.to_thread(load_definitions, portable, loaded.root)
        python = await provision(guest, self.materials, Cargo(portable, loaded.root, key))
        activator = Activator(guest, PROGRAM, str(PORTABLE), str(INSTANCE), timeout_s)
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
