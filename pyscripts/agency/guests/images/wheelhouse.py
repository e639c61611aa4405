"""Libraries that Python installs in a guest, gathered on the host: the guest has no network.

In the cache they are a directory of wheels and `requirements.txt`, which names each wheel by
version and SHA-256. They come from pinned, hashed requirements, and are chosen for the guest's
Python and C library, whatever the host's are.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.errors import BadInputError
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache
from agency.guests.images.pins import Pins, read_pins
from agency.guests.images.recipe import ImageRecipe

REQUIREMENTS = "requirements.txt"
KEPT_WHEELS = 2

_BUILDER_VERSION = 1
_TIMEOUT_S = 900.0
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The newest C library of each suite, as the manylinux tags count it.
_GLIBC = {"bookworm": 36, "trixie": 41}
_OLDEST_GLIBC = 17
_LEGACY_TAGS = ("manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True, slots=True)
class Libraries:
    """The wheels of others, with requirements that name each by version and SHA-256."""

    directory: Path
    digest: str

    @property
    def requirements(self) -> Path:
        """Every wheel by version and SHA-256."""
        return self.directory / REQUIREMENTS


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Origin of others' wheels: pinned and hashed requirements, for a guest of that recipe."""

    requirements: Path
    recipe: ImageRecipe

    def libraries_digest(self, pins: Pins) -> str:
        """Digest what comes from others, when that is in the requirements."""
        facts = {
            "builder": _BUILDER_VERSION,
            "pins": pins.digest,
            "python": self.recipe.python,
            "platforms": platforms(self.recipe),
        }
        return sha256_hex(canonical_json(facts))


@contextlib.asynccontextmanager
async def hold_libraries(
    base: Path, ingredients: Ingredients, *, marker: str
) -> AsyncIterator[Libraries]:
    """Hold the wheels of others, fetched where they are missing; they stay while this is held.

    Raises:
        PrerequisiteError: pip, the requirements or disk space are missing.
        BadInputError: the requirements are more than pins and hashes.
        BuildError: a wheel cannot be had.
    """
    pins = read_pins(ingredients.requirements)  # once: what is fetched is what the digest names
    digest = ingredients.libraries_digest(pins)
    make = partial(_download, ingredients.recipe, pins, marker=marker)
    cache = DigestCache(base / "wheels", keep=KEPT_WHEELS, needs=GIB)
    async with cache.hold(digest, make) as kept:
        yield Libraries(kept.path, digest)


async def _download(recipe: ImageRecipe, pins: Pins, directory: Path, *, marker: str) -> None:
    abi = "cp" + recipe.python.replace(".", "")
    wanted = directory / REQUIREMENTS
    wanted.write_text(pins.text)
    argv = [
        *(sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input"),
        *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", recipe.python),
        *(part for one in (abi, "abi3", "none") for part in ("--abi", one)),
        *(part for one in platforms(recipe) for part in ("--platform", one)),
        *("--dest", str(directory), "--requirement", str(wanted)),
    ]
    hint = "a package may have no wheel for the guest's Python, or no index can be reached"
    log = directory / "build.log"
    job = Job("pip download", tuple(argv), directory, log, _TIMEOUT_S, marker, hint)
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "TMPDIR": str(directory)}
    await run_job(job, env=outer_environment() | environment)
    log.unlink()
    _refuse_others(directory)


def _refuse_others(directory: Path) -> None:
    """Refuse what is no wheel: to install it would mean to run it."""
    names = {path.name for path in directory.iterdir() if path.suffix != ".whl"}
    others = sorted(names - {REQUIREMENTS})
    if others:
        raise BadInputError(
            f"no wheels were fetched but {', '.join(others)[:200]}",
            where="pip download",
            hint="pin versions that have wheels for the guest's Python",
        )


def platforms(recipe: ImageRecipe) -> tuple[str, ...]:
    """List the platform tags of wheels that run in the guest, best first (PEP 600).

    Raises:
        BadInputError: the suite's C library is not known.
    """
    newest = _GLIBC.get(recipe.suite)
    if newest is None:
        raise BadInputError(
            f"the C library of Debian {recipe.suite} is not known",
            where="suite",
            hint=f"use one of: {', '.join(_GLIBC)}",
        )
    machine = _MACHINES[recipe.architecture]
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
    return (*modern, *(f"{tag}_{machine}" for tag in _LEGACY_TAGS), f"linux_{machine}")
