"""The NixOS image of a source, built by Nix from the source's own flake.

In the cache it is a directory like that of any other image (see image.py). Nix may be offline: what
it needs must then be in its store, or the build fails with what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache
from agency.guests.images.disk.split import Description, fingerprint, metadata_tar
from agency.guests.images.image import FACTS, Image, held
from agency.guests.images.recipe import debian_architecture
from agency.guests.incus.model import Kind
from agency.programs import find_program
from agency.source_digest import source_digest

KEPT = 2

_NEEDS = 8 * GIB
_TIMEOUT_S = 3600.0
_BUILDER_VERSION = 1
NIX_INSTALL_HINT = "install Nix (https://nixos.org/download), or take Debian: --image debian"
BUILD_HINT = (
    "the end of its log says why; offline, all that it needs must be in Nix's store; "
    "or take Debian: --image debian"
)
_RELEASE = "throwaway"
_CREATED = 1_700_000_000
PASSED_ON = ("NIX_REMOTE", "NIX_SSL_CERT_FILE", "XDG_CACHE_HOME", "USER")
FEATURES = "nix-command flakes"


@dataclass(frozen=True, slots=True)
class Output:
    """What of the flake is built for a kind of guest, and which file of it is the image."""

    attribute: str  # of the flake: a package, and the host of the same name
    pattern: str
    suffix: str


OUTPUTS = {
    Kind.VM: Output("throwaway", "*.qcow2", "img"),
    Kind.CONTAINER: Output("throwaway-container", "tarball/*.tar.xz", "tar.xz"),
}


def image_is_built(base: Path, source: Path, kind: Kind) -> bool:
    """Whether the image of this very source is in the cache."""
    return _digest(source, kind) in _cache(base).digests()


@contextlib.asynccontextmanager
async def hold_nixos_image(
    base: Path, source: Path, kind: Kind, *, marker: str
) -> AsyncIterator[Image]:
    """The image of a source's `throwaway` host, built where it is missing; held like any other.

    Raises:
        PrerequisiteError: Nix or disk space are missing.
        BuildError: Nix cannot build it; its `log_tail` says why.
    """
    digest = _digest(source, kind)

    async def make(directory: Path) -> None:
        await _build(source, kind, digest, directory, marker)

    async with _cache(base).hold(digest, make) as kept:
        yield held(kept, kind, digest)


def build_argv(kind: Kind) -> tuple[str, ...]:
    """The call of Nix, in the source's directory; it prints where the image is."""
    return (
        *("nix", "build", "--extra-experimental-features", FEATURES),
        *("--no-link", "--print-out-paths", "--no-update-lock-file"),
        f".#{OUTPUTS[kind].attribute}",
    )


async def _build(source: Path, kind: Kind, digest: str, directory: Path, marker: str) -> None:
    find_program("nix", hint=NIX_INSTALL_HINT)
    output = OUTPUTS[kind]
    job = Job(
        name="nix build",
        argv=build_argv(kind),
        directory=source,
        log=directory / "build.log",
        timeout_s=_TIMEOUT_S,
        marker=marker,
        hint=BUILD_HINT,
    )
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    await run_job(job, env=outer_environment() | passed_on)
    built = _image_in(printed_path(job.log), output)
    rootfs = directory / f"rootfs.{output.suffix}"
    shutil.copyfile(built, rootfs)
    metadata = directory / "metadata.tar"
    described = Description("NixOS", _RELEASE, debian_architecture(), digest, _CREATED)
    metadata.write_bytes(metadata_tar(described))
    facts = {
        "built": str(built),
        "fingerprint": fingerprint(metadata, rootfs),
        "packages": {},
    }
    write_atomically(directory / FACTS, canonical_json(facts) + b"\n")


def printed_path(log: Path) -> Path:
    """The store path that Nix prints last; its messages are in the same log."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith("/") and " " not in line:
            return Path(line)
    raise BadInputError("nix build printed no store path", where=str(log), hint=BUILD_HINT)


def _image_in(output: Path, wanted: Output) -> Path:
    found = sorted(output.glob(wanted.pattern))
    if len(found) != 1:
        raise BadInputError(
            f"{len(found)} files match {wanted.pattern}, not one",
            where=str(output),
            hint=f"packages.{wanted.attribute} of the flake makes the image",
        )
    return found[0]


def _digest(source: Path, kind: Kind) -> str:
    facts = {
        "builder": _BUILDER_VERSION,
        "kind": str(kind),
        "source": source_digest(source).sha256,
    }
    return sha256_hex(canonical_json(facts))


def _cache(base: Path) -> DigestCache:
    return DigestCache(base / "nixos-images", keep=KEPT, needs=_NEEDS)
