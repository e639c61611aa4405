"""What Python installs in a guest, gathered on the host: the guest has no network.

In the cache a wheelhouse is a directory of wheels and `requirements.txt`, which names each wheel
by version and SHA-256. Those of others come from pinned, hashed requirements; the project's own is
built from its checkout. Wheels are chosen for the guest's Python and C library, whatever the
host's are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from agency.canonical import canonical_json, sha256_hex
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache
from agency.guests.images.pins import Pins, read_pins
from agency.guests.images.recipe import ImageRecipe
from agency.source_digest import source_digest, source_files

REQUIREMENTS = "requirements.txt"
KEPT_WHEELHOUSES = 2

_PROJECT = "agency"
_WANTED = "wanted.txt"
_BUILDER_VERSION = 1
_NEEDS = GIB
_TIMEOUT_S = 900.0
_OWN = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "pyscripts", "secrets")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The newest C library of each suite, as the manylinux tags count it.
_GLIBC = {"bookworm": 36, "trixie": 41}
_OLDEST_GLIBC = 17
_LEGACY_TAGS = ("manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A whole wheelhouse; `digest` is that of all of it, `libraries` that of others' wheels."""

    directory: Path
    digest: str
    libraries: str
    fresh: bool

    @property
    def requirements(self) -> Path:
        """Every wheel by version and SHA-256."""
        return self.directory / REQUIREMENTS

    @property
    def own(self) -> Path:
        """The project's own wheel."""
        return next(w for w in self.wheels() if w.name.startswith(f"{_PROJECT}-"))

    def wheels(self) -> list[Path]:
        """Every wheel."""
        return _wheels(self.directory)


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
    """What others' wheels are: pinned and hashed requirements, for a guest of that recipe."""

    requirements: Path
    recipe: ImageRecipe

    def libraries_digest(self, pins: Pins) -> str:
        """The digest of what comes from others, when that is in the requirements."""
        facts = {
            "builder": _BUILDER_VERSION,
            "pins": pins.digest,
            "python": self.recipe.python,
            "platforms": platforms(self.recipe),
        }
        return sha256_hex(canonical_json(facts))


def wheelhouse_caches(base: Path) -> tuple[DigestCache, DigestCache]:
    """The caches of others' wheels and of whole wheelhouses."""
    libraries = DigestCache(base / "wheels", keep=KEPT_WHEELHOUSES, needs=_NEEDS)
    whole = DigestCache(base / "wheelhouses", keep=KEPT_WHEELHOUSES, needs=_NEEDS // 4)
    return libraries, whole


@contextlib.asynccontextmanager
async def hold_libraries(
    base: Path, ingredients: Ingredients, *, marker: str
) -> AsyncIterator[Libraries]:
    """The wheels of others, fetched where they are missing; they stay while this is held.

    Raises:
        PrerequisiteError: pip, the requirements or disk space are missing.
        BadInputError: the requirements are more than pins and hashes.
        BuildError: a wheel cannot be had.
    """
    pins = read_pins(ingredients.requirements)  # once: what is fetched is what the digest names
    digest = ingredients.libraries_digest(pins)

    async def make(directory: Path) -> None:
        await _download(ingredients.recipe, pins, directory, marker)
        _refuse_others(directory)
        _write_lock(directory)

    libraries, _ = wheelhouse_caches(base)
    async with libraries.hold(digest, make) as kept:
        yield Libraries(kept.path, digest)


@contextlib.asynccontextmanager
async def hold_wheelhouse(
    base: Path, libraries: Libraries, source: Path, *, marker: str
) -> AsyncIterator[Wheelhouse]:
    """The wheels of others and the project's own; they stay while this is held.

    Raises:
        BuildError: the project's wheel cannot be built.
        BadInputError: it would be built from a symbolic link.
        PrerequisiteError: disk space is missing.
    """
    own = source_digest(source).sha256
    digest = sha256_hex(f"{libraries.digest} {own}".encode())

    async def make(directory: Path) -> None:
        for wheel in _wheels(libraries.directory):
            os.link(wheel, directory / wheel.name)
        await _build_own(source, directory, marker)
        _write_lock(directory)

    _, whole = wheelhouse_caches(base)
    async with whole.hold(digest, make) as kept:
        yield Wheelhouse(kept.path, digest, libraries.digest, kept.fresh)


async def _download(recipe: ImageRecipe, pins: Pins, directory: Path, marker: str) -> None:
    abi = "cp" + recipe.python.replace(".", "")
    wanted = directory / _WANTED
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
    await _pip("pip download", argv, directory, marker, hint)
    wanted.unlink()


def _refuse_others(directory: Path) -> None:
    """Refuse what is no wheel: to install it would mean to run it."""
    others = sorted(path.name for path in directory.iterdir() if path.suffix != ".whl")
    if others:
        raise BadInputError(
            f"no wheels were fetched but {', '.join(others)[:200]}",
            where="pip download",
            hint="pin versions that have wheels for the guest's Python",
        )


async def _build_own(source: Path, directory: Path, marker: str) -> None:
    """Build the project's wheel from a copy: a build leaves files in the tree it builds from."""
    copy = directory / "source"
    copy_own(source, copy)
    argv = [
        *(sys.executable, "-I", "-m", "pip", "wheel", "--quiet", "--no-input", "--no-deps"),
        *("--no-index", "--find-links", str(directory)),  # for what the build itself needs
        *("--wheel-dir", str(directory), str(copy)),
    ]
    hint = "the project's own wheel cannot be built from this checkout"
    await _pip("pip wheel", argv, directory, marker, hint)
    shutil.rmtree(copy)


def copy_own(source: Path, copy: Path) -> None:
    """Copy what of a source its wheel is built from: files of its digest, and no others.

    Raises:
        BadInputError: one is a symbolic link: what it leads to is not in the digest.
    """
    for name in source_files(source):
        parts = PurePath(name).parts
        if parts[0] not in _OWN or any(part.endswith(".egg-info") for part in parts):
            continue
        if (source / name).is_symlink():
            raise BadInputError(
                "a symbolic link, and what it leads to may be anything",
                where=str(source / name),
                hint="make it a file",
            )
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copy / name)


async def _pip(name: str, argv: list[str], directory: Path, marker: str, hint: str) -> None:
    log = directory / "build.log"
    job = Job(name, tuple(argv), directory, log, _TIMEOUT_S, marker, hint)
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "TMPDIR": str(directory)}
    await run_job(job, env=outer_environment() | environment)
    log.unlink()


def platforms(recipe: ImageRecipe) -> tuple[str, ...]:
    """The platform tags of wheels that run in the guest, best first (PEP 600).

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


def _wheels(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.whl"))


def _write_lock(directory: Path) -> None:
    write_atomically(directory / REQUIREMENTS, lock_file(_wheels(directory)).encode())


def lock_file(wheels: Iterable[Path]) -> str:
    """Requirements that name each wheel by version and SHA-256, sorted by name."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        with wheel.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return "".join(sorted(lines))
