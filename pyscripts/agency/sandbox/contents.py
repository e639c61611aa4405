"""What is in a lease's machine: the source's own code, built in the guest and nowhere else.

A change under review is not trusted. On the host nothing of it is executed: its pinned libraries
are fetched as wheels, which runs no code, and everything else happens in the guest.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency import naming
from agency.source_digest import source_root
from agency.spinup.guest.machines.machine import Guest, GuestFile
from agency.spinup.guest.materials.image import Image, hold_image
from agency.spinup.guest.materials.layout import PREFIX, SOURCE, WHEELS, pip_install
from agency.spinup.guest.materials.recipe import default_recipe
from agency.spinup.guest.materials.wheelhouse import Ingredients, hold_libraries

PINS = Path("requirements") / "guest.txt"

_PARTS = ("pyproject.toml", "README.md", "LICENSE", "pyscripts", "modules/portable", "instance")
_PUSH_S = 120.0
_INSTALL_S = 300.0
_ACTIVATE_S = 180.0


@dataclass(frozen=True, slots=True)
class Contents:
    """Puts a checkout into guests; `base` is where images and wheels are kept."""

    base: Path

    @contextlib.asynccontextmanager
    async def hold_image(self, marker: str) -> AsyncIterator[Image]:
        """The image of this program's own version, with its own libraries."""
        ingredients = Ingredients(source_root() / PINS, default_recipe())
        async with (
            hold_libraries(self.base, ingredients, marker=marker) as libraries,
            hold_image(self.base, ingredients.recipe, libraries, marker=marker) as image,
        ):
            yield image

    async def activate(self, guest: Guest, source: Path) -> int:
        """Have a booted guest run the source; returns the port of its homeserver.

        Raises:
            GuestError: it cannot be built, installed or activated; with what was said.
            BuildError: a library that it pins cannot be had.
        """
        await self._libraries(guest, source)
        await guest.run("mkdir", "--parents", str(SOURCE))
        await guest.unpack(_archive(source), SOURCE, timeout_s=_PUSH_S)
        pip = str(PREFIX / "bin" / "pip")
        await guest.run(
            *(pip, "install", "--quiet", "--no-input", "--no-index", "--no-deps"),
            *("--disable-pip-version-check", "--find-links", str(WHEELS), str(SOURCE)),
            timeout_s=_INSTALL_S,
        )
        await guest.run("rm", "--recursive", str(WHEELS))
        agency = str(PREFIX / "bin" / "agency")
        await guest.run(
            *(agency, "activate", "--portable", str(SOURCE / "modules/portable")),
            *("--instance", str(SOURCE / "instance")),
            timeout_s=_ACTIVATE_S,
        )
        return naming.SERVICE_PORTS["synapse"]

    async def _libraries(self, guest: Guest, source: Path) -> None:
        ingredients = Ingredients(source / PINS, default_recipe())
        async with hold_libraries(self.base, ingredients, marker=guest.name) as libraries:
            files = sorted(path for path in libraries.directory.iterdir() if path.is_file())
            await guest.write({WHEELS / path.name: GuestFile(path.read_bytes()) for path in files})
            lock = WHEELS / libraries.requirements.name
            await guest.run(*pip_install(lock), timeout_s=_INSTALL_S)


def _archive(source: Path) -> bytes:
    """The parts of a checkout that a guest needs; links that lead elsewhere stay links."""

    def cleaned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "__pycache__" in entry.name or entry.name.endswith(".egg-info"):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry if entry.isreg() or entry.isdir() or entry.issym() else None

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for part in _PARTS:
            if (source / part).exists():
                tar.add(source / part, arcname=part, filter=cleaned)
    return archive.getvalue()
