"""Installing the project in a guest from a wheelhouse, without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from agency.guests.images.image import Image
from agency.guests.images.layout import PREFIX, WHEELS, pip_install, venv
from agency.guests.images.wheelhouse import Wheelhouse
from agency.guests.machines.machine import Guest, GuestFile, file_archive

_UNPACK_S = 60.0
_INSTALL_S = 300.0
# pip takes half a second to say the same.
_LISTING = """\
import importlib.metadata, json
print(json.dumps({one.name: one.version for one in importlib.metadata.distributions()}))
"""


async def install(guest: Guest, image: Image, wheelhouse: Wheelhouse) -> dict[str, str]:
    """Make the virtual environment /opt/agency of a fresh guest hold what the wheelhouse names.

    What the image holds already is checked by its version and left as it is. Returns the version
    of every installed package by name.

    Raises:
        MachineError: a wheel is missing, altered, or not for this guest; with what pip said.
    """
    baked = image.libraries == wheelhouse.libraries
    wanted = [wheelhouse.own] if baked else wheelhouse.wheels()
    files = {WHEELS / wheel.name: GuestFile(wheel.read_bytes()) for wheel in wanted}
    if not baked:
        await guest.run(*venv(), timeout_s=_UNPACK_S)
    installed = await _installed(guest)
    pins = still_to_install(wheelhouse.requirements.read_text(), installed)
    if not pins:
        return installed
    lock = WHEELS / wheelhouse.requirements.name
    files[lock] = GuestFile(pins.encode())
    await guest.run("mkdir", "--parents", "--mode=0755", str(WHEELS))
    await guest.unpack(file_archive(files), PurePosixPath("/"), timeout_s=_UNPACK_S)
    await guest.run(*pip_install(lock), timeout_s=_INSTALL_S)
    await guest.run("rm", "--recursive", str(WHEELS))
    return await _installed(guest)


async def _installed(guest: Guest) -> dict[str, str]:
    listed = await guest.run(str(PREFIX / "bin" / "python3"), "-I", "-c", _LISTING)
    versions: dict[str, str] = json.loads(listed)
    return versions


def still_to_install(pins: str, installed: Mapping[str, str]) -> str:
    """The lines `NAME==VERSION --hash=...` whose package is not installed in that very version.

    They are for pip to judge; of what is installed it would look at no more either, in seconds.
    """
    there = {(_normal(name), version) for name, version in installed.items()}

    def is_there(pin: str) -> bool:
        name, _, version = pin.split(" ")[0].partition("==")
        return (_normal(name), version) in there

    return "".join(f"{pin}\n" for pin in pins.splitlines() if not is_there(pin))


def _normal(name: str) -> str:
    """A package's name as all its spellings compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
