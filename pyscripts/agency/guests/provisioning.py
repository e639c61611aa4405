"""Putting the agency into a fresh guest: program, source, instance, and its one key."""

from __future__ import annotations

import asyncio
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agency.guests.activation.age_key import put_age_key
from agency.guests.images.layout import PREFIX, SOURCE
from agency.guests.images.prepare import Materials
from agency.guests.install import install
from agency.guests.machines.machine import Guest, GuestFile
from agency.programs import find_program
from agency.secrets import SOPS_HINT, AgeKey

PROGRAM = str(PREFIX / "bin" / "agency")
PORTABLE = SOURCE / "modules" / "portable"
INSTANCE = SOURCE / "instance"
_SOPS = PurePosixPath("/usr/local/bin/sops")
_PUSH_S = 120.0


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is brought into a guest beside the packages."""

    portable: Path
    instance: Path
    key: AgeKey


async def provision(guest: Guest, materials: Materials, cargo: Cargo) -> dict[str, str]:
    """Install everything that the activation needs; returns the installed Python packages.

    Raises:
        MachineError: something cannot be put there or installed.
        PrerequisiteError: sops is not on this machine.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            installing = tasks.create_task(install(guest, materials))
            tasks.create_task(_bring(guest, cargo))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return installing.result()


async def _bring(guest: Guest, cargo: Cargo) -> None:
    sops = await asyncio.to_thread(_program, "sops", SOPS_HINT)
    await guest.write({_SOPS: GuestFile(sops, mode=0o755)})
    await guest.run("mkdir", "--parents", str(SOURCE))
    await guest.unpack(_archive(cargo), SOURCE, timeout_s=_PUSH_S)
    await put_age_key(guest, cargo.key.identity)


def _program(name: str, hint: str) -> bytes:
    """A program of this machine; it must need no libraries to run in another."""
    return Path(find_program(name, hint=hint)).resolve().read_bytes()


def _archive(cargo: Cargo) -> bytes:
    def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry if entry.isreg() or entry.isdir() or entry.issym() else None

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, place in ((cargo.portable, PORTABLE), (cargo.instance, INSTANCE)):
            name = str(place.relative_to(SOURCE))
            tar.add(path, arcname=name, filter=owned_by_root)
    return archive.getvalue()
