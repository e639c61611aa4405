"""Building a guest's image with mmdebstrap, once for each recipe.

In the cache an image is a directory with `metadata.tar` and `rootfs.tar` or `rootfs.tar.zst` (the
two parts of a split Incus image), `facts.json` and `build.log`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.clock import iso
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.programs import find_program
from agency.spinup.guest.materials.builder import Job, outer_environment, run_job
from agency.spinup.guest.materials.cache import GIB, DigestCache
from agency.spinup.guest.materials.layout import WHEELS, pip_install, venv
from agency.spinup.guest.materials.recipe import ImageRecipe
from agency.spinup.guest.materials.wheelhouse import REQUIREMENTS, Libraries

DIGEST_PROPERTY = "agency-digest"
KEPT_IMAGES = 2

_NEEDS = 3 * GIB
_TIMEOUT_S = 1800.0
_HINT = "the end of its log says why; the log of apt needs a reachable Debian mirror"
_FACTS = "facts.json"
_STATUS = "dpkg-status"


@dataclass(frozen=True, slots=True)
class Image:
    """A whole image. `fingerprint` is what Incus calls it; `fresh` when it was just built.

    `digest` is that of its recipe and of the libraries that were installed in it.
    """

    directory: Path
    digest: str
    libraries: str | None  # digest
    fingerprint: str
    packages: dict[str, str]  # name to version
    fresh: bool

    @property
    def metadata(self) -> Path:
        """The tarball that describes it."""
        return self.directory / "metadata.tar"

    @property
    def rootfs(self) -> Path:
        """The tarball with its files."""
        return next(iter(sorted(self.directory.glob("rootfs.tar*"))))


def image_cache(base: Path, *, keep: int = KEPT_IMAGES) -> DigestCache:
    """The cache of images below the directory of the guests' state."""
    return DigestCache(base / "images", keep=keep, needs=_NEEDS)


def image_digest(recipe: ImageRecipe, libraries: Libraries | None) -> str:
    """The digest of everything that an image is made of."""
    facts = {"recipe": recipe.digest, "libraries": libraries.digest if libraries else None}
    return sha256_hex(canonical_json(facts))


@contextlib.asynccontextmanager
async def hold_image(
    base: Path, recipe: ImageRecipe, libraries: Libraries | None = None, *, marker: str
) -> AsyncIterator[Image]:
    """The image of a recipe, built where it is missing; it stays while this is held.

    `libraries` are installed in it, so that every guest need not do that again.

    Raises:
        PrerequisiteError: mmdebstrap, rights or disk space are missing.
        BuildError: the recipe cannot be built.
    """
    digest = image_digest(recipe, libraries)

    async def make(directory: Path) -> None:
        await build(recipe, libraries, directory, marker=marker)

    async with image_cache(base).hold(digest, make) as kept:
        facts = json.loads((kept.path / _FACTS).read_text())
        yield Image(
            kept.path,
            digest,
            libraries.digest if libraries else None,
            facts["fingerprint"],
            facts["packages"],
            fresh=kept.fresh,
        )


async def build(
    recipe: ImageRecipe, libraries: Libraries | None, directory: Path, *, marker: str
) -> None:
    """Build an image into an empty directory."""
    find_program("mmdebstrap", hint="install mmdebstrap (Debian: mmdebstrap)")
    if os.geteuid() != 0:
        raise PrerequisiteError(
            "only root can build the guest's image",
            where="mmdebstrap",
            hint="run this once as root",
        )
    overlay, scratch = directory / "overlay", directory / "scratch"
    scratch.mkdir()
    _write_overlay(recipe, overlay)
    compressed = shutil.which("zstd") is not None
    rootfs = directory / ("rootfs.tar.zst" if compressed else "rootfs.tar")
    job = Job(
        name="mmdebstrap",
        argv=mmdebstrap_argv(recipe, libraries, overlay, rootfs),
        directory=directory,
        log=directory / "build.log",
        timeout_s=_TIMEOUT_S,
        marker=marker,
        hint=_HINT,
        isolated=True,
    )
    environment = {"TMPDIR": str(scratch), "SOURCE_DATE_EPOCH": str(recipe.epoch)}
    await run_job(job, env=outer_environment() | environment)
    metadata = directory / "metadata.tar"
    metadata.write_bytes(metadata_tar(recipe, image_digest(recipe, libraries)))
    facts = {
        "fingerprint": fingerprint(metadata, rootfs),
        "packages": installed_packages((directory / _STATUS).read_text(errors="replace")),
        "recipe": recipe.model_dump(mode="json"),
    }
    write_atomically(directory / _FACTS, canonical_json(facts) + b"\n")
    (directory / _STATUS).unlink()
    shutil.rmtree(overlay)
    shutil.rmtree(scratch)
    rootfs.chmod(0o644)


def mmdebstrap_argv(
    recipe: ImageRecipe, libraries: Libraries | None, overlay: Path, rootfs: Path
) -> tuple[str, ...]:
    """The call of mmdebstrap; it names no mirror, so mmdebstrap chooses.

    Hooks are words of mmdebstrap's own language; `$1` is the new root. Names in them were checked
    with the recipe, or are ours.
    """
    status = rootfs.parent / _STATUS
    hooks = [f"sync-in {shlex.quote(str(overlay))} /"]
    if recipe.disabled:
        hooks.append(_in_root("systemctl", "disable", *recipe.disabled))
    if libraries is not None:
        hooks += [
            _in_root("mkdir", "--parents", str(WHEELS)),
            f"sync-in {shlex.quote(str(libraries.directory))} {WHEELS}",
            _in_root(*venv()),
            _in_root(*pip_install(WHEELS / REQUIREMENTS)),
            _in_root("rm", "--recursive", str(WHEELS)),
        ]
    hooks.append(f"download /var/lib/dpkg/status {shlex.quote(str(status))}")
    return (
        "mmdebstrap",
        "--mode=root",
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--customize-hook={hook}" for hook in hooks),
        recipe.suite,
        str(rootfs),
    )


def _in_root(*argv: str) -> str:
    return f'chroot "$1" {shlex.join(argv)}'


def _write_overlay(recipe: ImageRecipe, overlay: Path) -> None:
    for path, content in recipe.files.items():
        target = overlay / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(0o644)
    units = overlay / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    for name in recipe.masked:
        (units / name).symlink_to("/dev/null")
    for directory in (overlay, *(p for p in overlay.rglob("*") if p.is_dir())):
        directory.chmod(0o755)


def metadata_tar(recipe: ImageRecipe, digest: str) -> bytes:
    """The metadata tarball of an Incus image, the same bytes for the same recipe.

    Source: https://linuxcontainers.org/incus/docs/main/reference/image_format/
    """
    properties = {
        "description": f"throwaway guest, Debian {recipe.suite}",
        "os": "Debian",
        "release": recipe.suite,
        DIGEST_PROPERTY: digest,
    }
    document = {
        "architecture": {"amd64": "x86_64", "arm64": "aarch64"}[recipe.architecture],
        "creation_date": recipe.epoch,
        "properties": properties,
    }
    content = canonical_json(document)  # JSON is YAML
    entry = tarfile.TarInfo("metadata.yaml")
    entry.size, entry.mtime, entry.mode = len(content), recipe.epoch, 0o644
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def fingerprint(metadata: Path, rootfs: Path) -> str:
    """What Incus calls a split image: the SHA-256 of both parts, one after the other."""
    digest = hashlib.sha256(metadata.read_bytes())
    with rootfs.open("rb") as handle:
        while chunk := handle.read(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()


def installed_packages(status: str) -> dict[str, str]:
    """Name to version of every installed package, from dpkg's status file."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.splitlines()
            if not line.startswith(" ") and ": " in line
        )
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def built_at(image: Image) -> str:
    """When the image was built, RFC 3339."""
    return iso((image.directory / _FACTS).stat().st_mtime)
