"""Building a guest's image with mmdebstrap, once for each recipe.

In the cache an image is a directory with the two parts of a split Incus image, `facts.json` and
`build.log`. The parts are `metadata.tar` and the root file system: `rootfs.tar` or `rootfs.tar.zst`
for a container, the disk `rootfs.img` (qcow2) for a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.errors import PrerequisiteError
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.cache import GIB, DigestCache, Kept
from agency.guests.images.disk import disk
from agency.guests.images.disk.split import FACTS, METADATA, Description, write_facts
from agency.guests.images.layout import WHEELS, pip_install, venv
from agency.guests.images.recipe import ImageRecipe
from agency.guests.images.wheelhouse import REQUIREMENTS, Libraries
from agency.guests.incus.model import Kind
from agency.programs import find_program

KEPT_IMAGES = 2
MMDEBSTRAP_HINT = "install mmdebstrap (Debian: mmdebstrap)"

_NEEDS = {Kind.CONTAINER: 3 * GIB, Kind.VM: 5 * GIB}
_TIMEOUT_S = 1800.0
_HINT = "the end of its log says why; the log of apt needs a reachable Debian mirror"
_STATUS = "dpkg-status"


@dataclass(frozen=True, slots=True)
class Image:
    """A whole image. `fingerprint` is what Incus calls it; `fresh` when it was just built.

    `kind` is what it boots as, `digest` that of all it is made of: the recipe and the libraries
    that were installed in it, or the source of a NixOS image.
    """

    directory: Path
    kind: Kind
    digest: str
    fingerprint: str
    packages: dict[str, str]  # name to version
    fresh: bool

    @property
    def metadata(self) -> Path:
        """The tarball that describes it."""
        return self.directory / METADATA

    @property
    def rootfs(self) -> Path:
        """The tarball with its files, or the disk of a virtual machine."""
        return next(iter(sorted(self.directory.glob("rootfs.*"))))


def image_cache(base: Path, kind: Kind = Kind.CONTAINER) -> DigestCache:
    """Return the cache of images below the directory of the guests' state."""
    return DigestCache(base / "images", keep=KEPT_IMAGES, needs=_NEEDS[kind])


def image_digest(recipe: ImageRecipe, libraries: Libraries | None) -> str:
    """Digest everything that an image is made of, and how it is made."""
    at = replace(libraries, directory=Path("wheels")) if libraries else None
    argv = mmdebstrap_argv(recipe, at, Path("overlay"), Path("target"), Path("status"))
    facts = {
        "recipe": recipe.digest,
        "libraries": libraries.digest if libraries else None,
        "argv": argv,  # where things are while it is built does not matter
        "disk": disk.layout(recipe.architecture) if recipe.kind is Kind.VM else None,
    }
    return sha256_hex(canonical_json(facts))


@contextlib.asynccontextmanager
async def hold_image(
    base: Path, recipe: ImageRecipe, libraries: Libraries | None = None, *, marker: str
) -> AsyncIterator[Image]:
    """Hold the image of a recipe, built where it is missing; it stays while this is held.

    `libraries` are installed in it, so that every guest need not do that again.

    Raises:
        PrerequisiteError: mmdebstrap, rights or disk space are missing.
        BuildError: the recipe cannot be built.
    """
    digest = image_digest(recipe, libraries)
    make = partial(build, recipe, libraries, marker=marker)
    async with image_cache(base, recipe.kind).hold(digest, make) as kept:
        yield held(kept, recipe.kind, digest)


def held(kept: Kept, kind: Kind, digest: str) -> Image:
    """Describe the image in a place of the cache."""
    facts = json.loads((kept.path / FACTS).read_text())
    return Image(
        kept.path,
        kind,
        digest,
        facts["fingerprint"],
        facts["packages"],
        fresh=kept.fresh,
    )


async def build(
    recipe: ImageRecipe, libraries: Libraries | None, directory: Path, *, marker: str
) -> None:
    """Build an image into an empty directory."""
    find_program("mmdebstrap", hint=MMDEBSTRAP_HINT)
    if os.geteuid() != 0:
        raise PrerequisiteError(
            "only root can build the guest's image",
            where="mmdebstrap",
            hint="run this once as root",
        )
    machine = recipe.kind is Kind.VM
    if machine:
        disk.require_programs()
    overlay, scratch = directory / "overlay", directory / "scratch"
    scratch.mkdir()
    _write_overlay(recipe, overlay)
    rootfs = directory / _rootfs_name(recipe.kind)
    target = scratch / "root" if machine else rootfs
    status = directory / _STATUS
    job = Job(
        name="mmdebstrap",
        argv=mmdebstrap_argv(recipe, libraries, overlay, target, status),
        directory=directory,
        log=directory / "build.log",
        timeout_s=_TIMEOUT_S,
        marker=marker,
        hint=_HINT,
        isolated=True,
    )
    environment = {"TMPDIR": str(scratch), "SOURCE_DATE_EPOCH": str(recipe.epoch)}
    await run_job(job, env=outer_environment() | environment)
    if machine:
        await disk.pack_disk(target, recipe.architecture, scratch, rootfs, job.log, marker=marker)
    digest = image_digest(recipe, libraries)
    described = Description("Debian", recipe.suite, recipe.architecture, digest, recipe.epoch)
    packages = installed_packages(status.read_text(errors="replace"))
    of = recipe.model_dump(mode="json")
    write_facts(directory, rootfs, described, packages=packages, recipe=of)
    status.unlink()
    shutil.rmtree(overlay)
    shutil.rmtree(scratch)
    rootfs.chmod(0o644)


def _rootfs_name(kind: Kind) -> str:
    if kind is Kind.VM:
        return "rootfs.img"
    return "rootfs.tar" if shutil.which("zstd") is None else "rootfs.tar.zst"


def mmdebstrap_argv(
    recipe: ImageRecipe, libraries: Libraries | None, overlay: Path, target: Path, status: Path
) -> tuple[str, ...]:
    """Make the call of mmdebstrap; it names no mirror, so mmdebstrap chooses.

    `target` is the tarball or directory to make, `status` the file for dpkg's list of packages.

    Hooks are words of mmdebstrap's own language; `$1` is the new root. Names in them were checked
    with the recipe, or are ours.
    """
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
        *(("--format=directory",) if recipe.kind is Kind.VM else ()),
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--customize-hook={hook}" for hook in hooks),
        recipe.suite,
        str(target),
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
