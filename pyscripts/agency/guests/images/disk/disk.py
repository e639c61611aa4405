"""The disk of a virtual machine, made from a directory without mounting anything.

A GPT with an EFI system partition (systemd-boot, kernel, initial RAM disk) and an ext4 root, as a
compressed qcow2. Every program writes into its part of one sparse file.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agency.errors import BadInputError, PrerequisiteError
from agency.guests.images.builder import Job, run_job
from agency.guests.images.disk.virtual import ROOT_UUID
from agency.programs import run_program

Architecture = Literal["amd64", "arm64"]

MIB = 1024 * 1024
SECTOR = 512
DISK_MIB = 4096  # grows to the size of the guest's disk when it boots
ESP_MIB = 256
_EDGE_MIB = 1  # before the first partition and after the last

PROGRAMS: Mapping[str, str] = {  # to Debian's package
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "mcopy": "mtools",
    "qemu-img": "qemu-utils",
}

_TIMEOUT_S = 900.0
_SHORT_S = 60.0
_HINT = "the end of its log says why"
_DISK_ID = "0f0d4ab0-96d1-4c6a-8a0e-3f6f3b1c7a10"
_ESP_ID = "a5b6b1f4-6f0f-4c7c-b51f-6a1f0f3f5c21"
_ROOT_ID = "c9f0a7d2-1f6b-4b63-9d0b-52c3c8f0a832"
_LOADER = "default debian.conf\ntimeout 0\neditor no\n"
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


@dataclass(frozen=True, slots=True)
class _Machine:
    """Facts that depend on the architecture; the type is that of the root's partition."""

    root_type: str
    loader: str  # of systemd-boot-efi
    fallback: str  # what EFI starts from a disk that it does not know
    console: str


_MACHINES: Mapping[Architecture, _Machine] = {
    "amd64": _Machine(
        "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "systemd-bootx64.efi", "BOOTX64.EFI", "ttyS0"
    ),
    "arm64": _Machine(
        "B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "systemd-bootaa64.efi", "BOOTAA64.EFI", "ttyAMA0"
    ),
}


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the disk, in MiB."""

    start: int
    size: int


ESP = Region(_EDGE_MIB, ESP_MIB)
ROOT = Region(ESP.start + ESP.size, DISK_MIB - ESP.start - ESP.size - _EDGE_MIB)


def require_programs() -> None:
    """Check that the disk can be made here.

    Raises:
        PrerequisiteError: a program is missing; names all that are.
    """
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        packages = sorted({PROGRAMS[name] for name in absent})
        raise PrerequisiteError(
            f"programs that make a virtual machine's disk are missing: {', '.join(absent)}",
            where="PATH",
            hint=f"install {' '.join(packages)} (Debian's names), or take a container",
        )


async def pack_disk(
    root: Path, architecture: Architecture, scratch: Path, disk: Path, log: Path, *, marker: str
) -> None:
    """Make the disk from the files of a root directory; `scratch` is for what comes between.

    Raises:
        BuildError: a program failed; its `log_tail` says why.
        BadInputError: the root has no kernel, or more than one.
        PrerequisiteError: the disk of this host is full.
    """
    boot = _write_boot(root, architecture, scratch / "boot")
    raw = scratch / "disk.raw"
    with raw.open("xb") as handle:
        os.truncate(handle.fileno(), DISK_MIB * MIB)
    table = partition_table(architecture).encode()
    sfdisk = ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(raw))
    await asyncio.to_thread(run_program, sfdisk, stdin=table, timeout=_SHORT_S)
    for argv in (*_calls(boot, root, raw), convert_argv(raw, disk)):
        job = Job(argv[0], argv, scratch, log, _TIMEOUT_S, marker, _HINT)
        await run_job(job, env={"MTOOLS_SKIP_CHECK": "1", "TMPDIR": str(scratch)})


def partition_table(architecture: Architecture) -> str:
    """Write the script of sfdisk."""

    def line(region: Region, kind: str, uuid: str, name: str) -> str:
        start, size = (mib * MIB // SECTOR for mib in (region.start, region.size))
        return f"start={start}, size={size}, type={kind}, uuid={uuid}, name={name}\n"

    return (
        f"label: gpt\nlabel-id: {_DISK_ID}\nunit: sectors\n"
        + line(ESP, _ESP_TYPE, _ESP_ID, "esp")
        + line(ROOT, _MACHINES[architecture].root_type, _ROOT_ID, "root")
    )


def layout(architecture: Architecture) -> dict[str, object]:
    """Describe how the disk is made of a root directory, as facts that change when that does."""
    boot, root, raw = (Path("/nonexistent") / name for name in ("boot", "root", "raw"))
    return {
        "table": partition_table(architecture),
        "loader": [_LOADER, boot_entry(architecture)],
        "calls": [*_calls(boot, root, raw), convert_argv(raw, Path("disk"))],
    }


def boot_entry(architecture: Architecture) -> str:
    """Write the boot loader's entry; the console that is named last is the one that counts."""
    console = _MACHINES[architecture].console
    return (
        "title Debian\nlinux /vmlinuz\ninitrd /initrd.img\n"
        f"options root=UUID={ROOT_UUID} rw quiet console=tty1 console={console}\n"
    )


def _write_boot(root: Path, architecture: Architecture, boot: Path) -> Path:
    """Lay out a directory like the EFI system partition."""
    machine = _MACHINES[architecture]
    for name in ("EFI/BOOT", "loader/entries"):
        (boot / name).mkdir(parents=True)
    loader = root / "usr/lib/systemd/boot/efi" / machine.loader
    shutil.copyfile(loader, boot / "EFI/BOOT" / machine.fallback)
    shutil.copyfile(_only(root / "boot", "vmlinuz-*"), boot / "vmlinuz")
    shutil.copyfile(_only(root / "boot", "initrd.img-*"), boot / "initrd.img")
    (boot / "loader/loader.conf").write_text(_LOADER)
    (boot / "loader/entries/debian.conf").write_text(boot_entry(architecture))
    return boot


def _only(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise BadInputError(
            f"{len(found)} files match {pattern}, not one",
            where="the image's /boot",
            hint="the recipe of a virtual machine names one kernel and initramfs-tools",
        )
    return found[0]


def _calls(boot: Path, root: Path, raw: Path) -> Iterator[tuple[str, ...]]:
    esp = f"{raw}@@{ESP.start * MIB}"
    yield (
        *("mkfs.vfat", "-F", "32", "-n", "ESP", "-i", _ESP_ID[:8], "-s", "1"),
        *("--offset", str(ESP.start * MIB // SECTOR), "-h", str(ESP.start * MIB // SECTOR)),
        *(str(raw), str(ESP.size * MIB // 1024)),
    )
    directories = sorted(path for path in boot.rglob("*") if path.is_dir())
    yield ("mmd", "-i", esp, *(f"::/{path.relative_to(boot)}" for path in directories))
    for path in sorted(path for path in boot.rglob("*") if path.is_file()):
        yield ("mcopy", "-i", esp, str(path), f"::/{path.relative_to(boot)}")
    features = f"offset={ROOT.start * MIB},root_owner=0:0,hash_seed={ROOT_UUID}"
    yield (
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "agency-root", "-U", ROOT_UUID),
        *("-E", features, "-d", str(root), str(raw), f"{ROOT.size}M"),
    )


def convert_argv(raw: Path, disk: Path) -> tuple[str, ...]:
    """Make the call that makes the compressed disk."""
    options = ("-c", "-o", "compression_type=zstd")
    return ("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(disk))
