"""Debian packages that a guest gets beside its image, fetched on the host: it has no network.

In the cache they are a directory of .deb files, by the digest of their names and of the image that
they go with. apt checks them against the archive's signatures. What installed ones depend on must
be in the image, or dpkg refuses them; of those that are unpacked alone, no script of theirs runs.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.errors import PrerequisiteError
from agency.guests.images.builder import BuildError, Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache
from agency.guests.images.image import MMDEBSTRAP_HINT, Image
from agency.guests.images.recipe import ImageRecipe
from agency.programs import find_program

KEPT_SETS = 4

_BUILDER_VERSION = 1
_NEEDS = GIB // 2
_FETCH_S = 300.0
_ARCHIVES = "/var/cache/apt/archives"
_HINT = "the end of its log says why; the log of apt needs a reachable Debian mirror"


@dataclass(frozen=True, slots=True)
class Debs:
    """Packages as files, by their names; `unpacked` are those that are not to be configured."""

    files: Mapping[str, Path]
    unpacked: frozenset[str] = frozenset()

    def facts(self) -> dict[str, str]:
        """Return the SHA-256 of every file by its name."""
        return {path.name: sha256_hex(path.read_bytes()) for path in self.files.values()}


@contextlib.asynccontextmanager
async def hold_debs(
    base: Path,
    recipe: ImageRecipe,
    image: Image,
    packages: tuple[str, ...],
    *,
    unpacked: frozenset[str] = frozenset(),
    marker: str,
) -> AsyncIterator[Debs]:
    """Hold packages for guests of an image, fetched where they are missing.

    `unpacked` are those of them that are not to be configured.

    Raises:
        PrerequisiteError: mmdebstrap, rights or disk space are missing.
        BuildError: one cannot be had.
    """
    facts = {
        "builder": _BUILDER_VERSION,
        "packages": sorted(packages),
        "suite": recipe.suite,
        "architecture": recipe.architecture,
        "image": image.fingerprint,
    }
    cache = DigestCache(base / "debs", keep=KEPT_SETS, needs=_NEEDS)
    make = partial(_fetch, recipe, packages, marker=marker)
    async with cache.hold(sha256_hex(canonical_json(facts)), make) as kept:
        yield Debs({name: _file(kept.path, name) for name in packages}, unpacked)


async def _fetch(
    recipe: ImageRecipe, packages: tuple[str, ...], directory: Path, *, marker: str
) -> None:
    find_program("mmdebstrap", hint=MMDEBSTRAP_HINT)
    if os.geteuid() != 0:
        hint = "run this once as root"
        raise PrerequisiteError("only root can fetch packages", where="mmdebstrap", hint=hint)
    scratch = directory / "scratch"
    scratch.mkdir()
    log = directory / "build.log"
    argv = fetch_argv(recipe, packages, scratch)
    job = Job("mmdebstrap", argv, directory, log, _FETCH_S, marker, _HINT, isolated=True)
    await run_job(job, env=outer_environment() | {"TMPDIR": str(scratch)})
    for name in packages:
        found = _file(scratch / "archives", name)
        shutil.copyfile(found, directory / found.name)
    shutil.rmtree(scratch)
    log.unlink()


def fetch_argv(recipe: ImageRecipe, packages: tuple[str, ...], into: Path) -> tuple[str, ...]:
    """Make the call that fetches packages, with what they depend on, and makes no image."""
    return (
        *("mmdebstrap", "--mode=root", "--variant=extract", "--format=null"),
        f"--architectures={recipe.architecture}",
        f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        f"--extract-hook=copy-out {_ARCHIVES} {shlex.quote(str(into))}",
        recipe.suite,
        "-",
    )


def _file(directory: Path, package: str) -> Path:
    found = sorted(directory.glob(f"{package}_*.deb"))
    if len(found) != 1:
        raise BuildError(f"fetched {len(found)} files of {package}", where="mmdebstrap", hint=_HINT)
    return found[0]
