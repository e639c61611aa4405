"""Putting the agency into a fresh guest: program, source, instance, and its one key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agency.archive import archive, tree
from agency.guests.activation.age_key import put_age_key
from agency.guests.images.layout import PREFIX, SOURCE
from agency.guests.images.prepare import Materials
from agency.guests.install import install
from agency.guests.machines.machine import Guest, GuestFile
from agency.programs import find_program
from agency.secrets.encryption.age import AgeKey
from agency.secrets.encryption.sops import SOPS_HINT

PROGRAM = str(PREFIX / "bin" / "agency")
PORTABLE = SOURCE / "modules" / "portable"
INSTANCE = SOURCE / "instance"
_SOPS = PurePosixPath("/usr/local/bin/sops")
_PUSH_S = 120.0


@dataclass(frozen=True, slots=True)
class Cargo:
    """Files and key that are brought into a guest beside the packages."""

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
    portable = tree(cargo.portable, str(PORTABLE.relative_to(SOURCE)))
    instance = tree(cargo.instance, str(INSTANCE.relative_to(SOURCE)))
    await guest.unpack(archive([*portable, *instance]), SOURCE, timeout_s=_PUSH_S)
    await put_age_key(guest, cargo.key.identity)


def _program(name: str, hint: str) -> bytes:
    """Read a program of this machine; it must need no libraries to run in another."""
    return Path(find_program(name, hint=hint)).resolve().read_bytes()
