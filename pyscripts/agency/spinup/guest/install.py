"""Installing the project in a guest from a wheelhouse, without a network."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from agency.spinup.guest.machine import Guest, GuestFile, file_archive
from agency.spinup.guest.materials.image import Image
from agency.spinup.guest.materials.layout import PREFIX, WHEELS, pip_install, venv
from agency.spinup.guest.materials.wheelhouse import Wheelhouse

_UNPACK_S = 60.0
_INSTALL_S = 300.0


async def install(guest: Guest, image: Image, wheelhouse: Wheelhouse) -> dict[str, str]:
    """Make the virtual environment /opt/agency of a fresh guest hold what the wheelhouse names.

    What the image holds already is checked by its version and left as it is. Returns the version
    of every installed package by name.

    Raises:
        GuestError: a wheel is missing, altered, or not for this guest; with what pip said.
    """
    baked = image.libraries == wheelhouse.libraries
    wanted = [wheelhouse.own] if baked else wheelhouse.wheels()
    files = {WHEELS / wheel.name: GuestFile(wheel.read_bytes()) for wheel in wanted}
    lock = WHEELS / wheelhouse.requirements.name
    files[lock] = GuestFile(wheelhouse.requirements.read_bytes())
    await guest.run("mkdir", "--parents", "--mode=0755", str(WHEELS))
    await guest.unpack(file_archive(files), PurePosixPath("/"), timeout_s=_UNPACK_S)
    if not baked:
        await guest.run(*venv(), timeout_s=_UNPACK_S)
    await guest.run(*pip_install(lock), timeout_s=_INSTALL_S)
    await guest.run("rm", "--recursive", str(WHEELS))
    pip = str(PREFIX / "bin" / "pip")
    listed = await guest.run(pip, "list", "--format=json", "--disable-pip-version-check")
    return {package["name"]: package["version"] for package in json.loads(listed)}
