"""Contents of a lease's machine: the source's own code, built only in the guest.

A change under review is not trusted, so the host runs none of its code: it fetches the pinned
libraries as wheels, which runs no code, and everything else happens in the guest.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency import naming
from agency.errors import BadInputError
from agency.guests import (
    PREFIX,
    SOURCE,
    WHEELS,
    Guest,
    GuestFile,
    Image,
    Ingredients,
    Libraries,
    default_recipe,
    hold_image,
    hold_libraries,
    image_cache,
    image_digest,
    pip_install,
    read_pins,
)
from agency.source_digest import source_root

PINS = Path("requirements") / "guest.txt"

_PARTS = (
    *("pyproject.toml", "setup.py", "README.md", "LICENSE"),
    *("pyscripts", "secrets", "modules/portable", "instance"),
)
MAX_BYTES = 64 * 1024 * 1024
MAX_WHEELS_BYTES = 512 * 1024 * 1024
MAX_DEPTH = 32
_HEADERS = 1024  # of one entry of an archive
_PUSH_S = 120.0
_INSTALL_S = 300.0
_ACTIVATE_S = 180.0


@dataclass(frozen=True, slots=True)
class Contents:
    """Installer of a checkout into guests; `base` is the directory of cached images and wheels."""

    base: Path

    @contextlib.asynccontextmanager
    async def hold_image(self, marker: str) -> AsyncIterator[Image]:
        """Hold the image of this program's own version, with its own libraries."""
        ingredients = Ingredients(source_root() / PINS, default_recipe())
        async with (
            hold_libraries(self.base, ingredients, marker=marker) as libraries,
            hold_image(self.base, ingredients.recipe, libraries, marker=marker) as image,
        ):
            yield image

    def has_image(self) -> bool:
        """Return whether that image is cached."""
        ingredients = Ingredients(source_root() / PINS, default_recipe())
        libraries = Libraries(
            self.base, ingredients.libraries_digest(read_pins(ingredients.requirements))
        )
        return image_digest(ingredients.recipe, libraries) in image_cache(self.base).digests()

    async def activate(self, guest: Guest, source: Path) -> int:
        """Build, install and start the source in a booted guest; return the port of its homeserver.

        Raises:
            MachineError: it cannot be built, installed or activated; with the output.
            BadInputError: it is too large, or breaks a rule for sources.
            BuildError: a pinned library cannot be fetched.
        """
        files = archive(source)
        await self._libraries(guest, source)
        await guest.run("mkdir", "--parents", str(SOURCE))
        await guest.unpack(files, SOURCE, timeout_s=_PUSH_S)
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
            if sum(path.stat().st_size for path in files) > MAX_WHEELS_BYTES:
                raise _refusal(f"its libraries are larger than {MAX_WHEELS_BYTES} bytes", str(PINS))
            await guest.write({WHEELS / path.name: GuestFile(path.read_bytes()) for path in files})
            lock = WHEELS / libraries.requirements.name
            await guest.run(*pip_install(lock), timeout_s=_INSTALL_S)


def archive(source: Path) -> bytes:
    """Pack the parts of a checkout that a guest needs into a tar; links stay links.

    Raises:
        BadInputError: it is too large or too deep, or a directory above a part is a link.
    """
    held = 0

    def counted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal held
        if "__pycache__" in entry.name or entry.name.endswith(".egg-info"):
            return None
        if not (entry.isreg() or entry.isdir() or entry.issym()):
            return None
        held += entry.size + _HEADERS + 2 * len(entry.name)  # before it is read
        if held > MAX_BYTES:
            raise _refusal(f"the guest's parts are larger than {MAX_BYTES} bytes", entry.name)
        if entry.name.count("/") > MAX_DEPTH:
            raise _refusal(f"more than {MAX_DEPTH} directories in each other", entry.name)
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for part in _PARTS:
            for above in Path(part).parents:
                if above != Path() and (source / above).is_symlink():
                    raise _refusal("a link, which may lead to another user's files", str(above))
            if os.path.lexists(source / part):
                tar.add(source / part, arcname=part, filter=counted)
    return packed.getvalue()


def _refusal(message: str, name: str) -> BadInputError:
    return BadInputError(message, where=name[-200:], hint="a guest holds the source alone")
