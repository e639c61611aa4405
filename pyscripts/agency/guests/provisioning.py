"""Putting the agency into a fresh guest: program, source, instance, and its one key."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

from agency.archive import archive, tree
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


async def provision(
    guest: Guest, materials: Materials, portable: Path, instance: Path, key: AgeKey
) -> dict[str, str]:
    """Install what the activation needs: the export, an instance and its key beside the packages.

    Return the version of every installed Python package by name.

    Raises:
        MachineError: something cannot be put there or installed.
        PrerequisiteError: sops is not on this machine.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            installing = tasks.create_task(install(guest, materials))
            tasks.create_task(_bring(guest, portable, instance, key))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return installing.result()


async def _bring(guest: Guest, portable: Path, instance: Path, key: AgeKey) -> None:
    # It needs no libraries, so that this machine's runs in the guest.
    sops = await asyncio.to_thread(Path(find_program("sops", hint=SOPS_HINT)).read_bytes)
    await guest.write({_SOPS: GuestFile(sops, mode=0o755)})
    await guest.run("mkdir", "--parents", str(SOURCE))
    parts = ((portable, PORTABLE), (instance, INSTANCE))
    members = [one for path, at in parts for one in tree(path, str(at.relative_to(SOURCE)))]
    await guest.unpack(archive(members), SOURCE, timeout_s=_PUSH_S)
    await put_age_key(guest, key.identity)
