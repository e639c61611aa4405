"""Installing in a guest: the project's own files beside the image's libraries, and packages."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from agency.errors import BadInputError
from agency.guests.images.debs import Debs
from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.machines.machine import Guest, GuestFile
from agency.source_digest import source_files

_INSTALL_S = 300.0
_DPKG_S = 60.0
_DEBS = PurePosixPath("/var/cache/agency-debs")
_PACKAGES = PurePosixPath("pyscripts")
_CATALOGUE = PurePosixPath("secrets/catalogue.json")
_PYTHON = PREFIX / "bin" / "python3"
# pip takes half a second to say the same.
_LISTING = """\
import importlib.metadata, json
print(json.dumps({one.name: one.version for one in importlib.metadata.distributions()}))
"""
_SCRIPT = """\
#!{python}
import sys

from {module} import {function}

if __name__ == "__main__":  # as pip has it: who reads it without running it finds the function
    sys.exit({function}())
"""


async def install(guest: Guest, materials: Materials) -> dict[str, str]:
    """Put the source's program beside the libraries of a fresh guest's virtual environment.

    Returns the version of every installed package by name.

    Raises:
        MachineError: it cannot be written or compiled.
        BadInputError: a part of the source is a symbolic link.
    """
    site = PREFIX / "lib" / f"python{materials.recipe.python}" / "site-packages"
    await guest.write(await asyncio.to_thread(own_files, materials.source, site))
    # Units cannot write beside their program, and reading it anew takes a second at each start.
    compiling = (str(_PYTHON), "-I", "-m", "compileall", "-q", "-j", "0", str(site / "agency"))
    await guest.run(*compiling, timeout_s=_INSTALL_S)
    versions: dict[str, str] = json.loads(await guest.run(str(_PYTHON), "-I", "-c", _LISTING))
    return versions


def own_files(source: Path, site: PurePosixPath) -> Mapping[PurePosixPath, GuestFile]:
    """Collect the files of an installed program by their place: those of the source's digest.

    Raises:
        BadInputError: one is a symbolic link: what it leads to is not in the digest.
    """
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    files: dict[PurePosixPath, GuestFile] = {}
    for path in map(PurePosixPath, source_files(source)):
        if not path.is_relative_to(_PACKAGES / name):
            continue
        if (source / path).is_symlink():
            raise BadInputError(
                "a symbolic link, and what it leads to may be anything",
                where=str(source / path),
                hint="make it a file",
            )
        files[site / path.relative_to(_PACKAGES)] = GuestFile((source / path).read_bytes())
    files[site / name / _CATALOGUE] = GuestFile((source / _CATALOGUE).read_bytes())  # see setup.py
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files[site / f"{name}-{version}.dist-info" / "METADATA"] = GuestFile(about.encode())
    for script, target in project["scripts"].items():
        module, _, function = target.partition(":")
        text = _SCRIPT.format(python=_PYTHON, module=module, function=function)
        files[PREFIX / "bin" / script] = GuestFile(text.encode(), mode=0o755)
    return files


async def install_debs(guest: Guest, debs: Debs) -> None:
    """Install packages in a guest; no service is started or restarted by it.

    Of those that are unpacked alone, the guest gets files: no users, and no units enabled.

    Raises:
        MachineError: dpkg refuses one, such as for something it depends on.
    """
    places = {name: _DEBS / path.name for name, path in debs.files.items()}
    files = {places[name]: GuestFile(path.read_bytes()) for name, path in debs.files.items()}
    await guest.write(files)
    for verb, names in (
        ("--unpack", debs.unpacked & places.keys()),
        ("--install", places.keys() - debs.unpacked),
    ):
        if names:
            named = sorted(str(places[name]) for name in names)
            await guest.run("dpkg", verb, "--no-triggers", *named, timeout_s=_DPKG_S)
    await guest.run("rm", "--recursive", str(_DEBS))
