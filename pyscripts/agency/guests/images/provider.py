"""The OpenID provider of a spin-up, fetched on the host: the guest has no network.

A pack is one tar archive: the provider's own package with all that it needs, as pinned with hashes,
and our settings for it. Fetching it runs none of its code.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agency.archive import archive
from agency.canonical import canonical_json, sha256_hex
from agency.files import write_atomically
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache
from agency.programs import find_program

PACKAGE = Path(__file__).resolve().parent / "provider_package"
NAME = "oidc-provider"
KEPT_PACKS = 2
NPM_HINT = "install npm (Debian: npm); it fetches the OpenID provider of guests"

_ARCHIVE = "pack.tar"
_MANIFEST = "package.json"
_LOCK = "package-lock.json"
_BUILDER_VERSION = 1
_NEEDS = GIB // 8
_TIMEOUT_S = 300.0
# What only people who write code look at.
_UNUSED = (".ts", ".map", ".mts", ".cts", ".package-lock.json")
_HINT = "the end of its log says why; it needs a reachable npm registry"


@dataclass(frozen=True, slots=True)
class ProviderPack:
    """A whole pack; `name` and `version` are those of the provider's package."""

    archive: Path
    digest: str
    name: str
    version: str
    fresh: bool


def provider_cache(base: Path, *, keep: int = KEPT_PACKS) -> DigestCache:
    """Return the cache of packs below the directory of the guests' state."""
    return DigestCache(base / "providers", keep=keep, needs=_NEEDS)


def pack_digest(package: Path = PACKAGE) -> str:
    """Digest everything that a pack is made of."""
    files = {
        path.name: sha256_hex(path.read_bytes())
        for path in sorted(package.iterdir())
        if path.is_file()
    }
    return sha256_hex(canonical_json({"builder": _BUILDER_VERSION, "files": files}))


def pinned_version(package: Path = PACKAGE) -> str:
    """Read the version of the provider's package that is pinned."""
    lock = json.loads((package / _LOCK).read_text())
    return str(lock["packages"][f"node_modules/{NAME}"]["version"])


@contextlib.asynccontextmanager
async def hold_provider(
    base: Path, *, marker: str, package: Path = PACKAGE
) -> AsyncIterator[ProviderPack]:
    """Hold the pack, fetched where it is missing; it stays while this is held.

    Raises:
        PrerequisiteError: npm or disk space are missing.
        BuildError: a package cannot be had, or is not the one that was pinned.
    """
    digest = pack_digest(package)
    make = partial(_fetch, package, marker=marker)
    async with provider_cache(base).hold(digest, make) as kept:
        yield ProviderPack(kept.path / _ARCHIVE, digest, NAME, pinned_version(package), kept.fresh)


async def _fetch(package: Path, directory: Path, *, marker: str) -> None:
    find_program("npm", hint=NPM_HINT)
    tree = directory / "tree"
    shutil.copytree(package, tree)
    argv = (
        *("npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"),
        *("--no-update-notifier", "--bin-links=false", "--cache", str(directory / "cache")),
    )
    log = directory / "build.log"
    job = Job("npm ci", argv, tree, log, _TIMEOUT_S, marker, _HINT)
    await run_job(job, env=outer_environment() | {"TMPDIR": str(directory)})
    write_atomically(directory / _ARCHIVE, archive_of(tree))
    for scratch in (tree, directory / "cache"):
        shutil.rmtree(scratch, ignore_errors=True)
    log.unlink()


def archive_of(tree: Path) -> bytes:
    """Pack a directory's files, root's, the same bytes for the same files.

    Raises:
        InternalError: there is a link or device in it, which no package needs.
    """
    paths = sorted(path for path in tree.rglob("*") if not path.name.endswith(_UNUSED))
    return archive(((path.relative_to(tree).as_posix(), path) for path in paths), plain=True)
