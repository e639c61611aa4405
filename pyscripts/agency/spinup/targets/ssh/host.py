"""Looking at a host: who we are on it, what it runs, and how its agency is called."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from agency.canonical import sha256_hex
from agency.machine import Machine, MachineError, Unit, run, units
from agency.secrets import SecretValue
from agency.spinup.expected import Expected
from agency.spinup.record import Evidence
from agency.transcript import CONTROL_UNIT

SECRETS_UNIT = "agency-secrets.service"
SOPS_UNIT = "sops-install-secrets.service"
SECRETS = PurePosixPath("/run/secrets")

_PATTERNS = ("agency-*.service", "agency-*.socket", "agency-*.timer")
_EXECUTABLE = re.compile(r"path=(/[^ ;]+/agency)\s")
_SYSTEM = "/run/current-system"
_AT_WORK = ("activating", "deactivating", "reloading")
_LOOKS, _LOOK_AGAIN_S = 20, 0.5


async def require_root(machine: Machine) -> None:
    """See that programs run as root there.

    Raises:
        MachineError: they run as somebody else.
    """
    uid = (await run(machine, "id", "-u")).decode().strip()
    if uid != "0":
        raise MachineError(
            f"logged in as a user who is not root (uid {uid})",
            where=machine.name,
            hint="log in as root: --host root@HOST; sudo is not used here",
        )


async def program(machine: Machine) -> str:
    """The path of `agency` on a host: the one that its control plane runs.

    Raises:
        MachineError: there is no systemd, or no agency.
    """
    argv = ("systemctl", "show", "--property=LoadState,ExecStart", "--", CONTROL_UNIT)
    shown = (await run(machine, *argv)).decode(errors="replace")
    found = _EXECUTABLE.search(shown)
    if "LoadState=loaded" not in shown or found is None:
        raise MachineError(
            f"there is no agency on this host: it has no {CONTROL_UNIT}",
            where=machine.name,
            hint="switch it to a system that has one first: nixos-rebuild switch",
        )
    return found[1]


async def secret(machine: Machine, name: str) -> SecretValue:
    """A secret as the host holds it; an instance may have it made there.

    Raises:
        MachineError: it is not there.
    """
    value = (await run(machine, "cat", str(SECRETS / name))).decode().strip()
    if not value:
        raise MachineError(f"the secret {name} is empty", where=machine.name)
    return SecretValue(value)


async def system(machine: Machine) -> Evidence:
    """The evidence of `host.system`."""
    release = (await run(machine, "cat", "/etc/os-release")).decode(errors="replace")
    return {
        "os": _field(release, "PRETTY_NAME"),
        "kernel": (await run(machine, "uname", "-r")).decode().strip(),
        "system": await _system(machine),
    }


def _field(release: str, name: str) -> str:
    lines = (line.partition("=") for line in release.splitlines())
    return next((value.strip("\"'") for key, _, value in lines if key == name), "")


async def _system(machine: Machine) -> Evidence:
    link = await machine.look("readlink", "--", _SYSTEM)
    if link.exit_status != 0:
        listed = await run(
            machine, "dpkg-query", "--show", "--showformat=${Package} ${Architecture} ${Version}\n"
        )
        lines = sorted(listed.splitlines())
        return {
            "kind": "debian",
            "packages": len(lines),
            "digest": sha256_hex(b"\n".join(lines)),
        }
    told = json.loads(await run(machine, f"{_SYSTEM}/sw/bin/nixos-version", "--json"))
    return {
        "kind": "nixos",
        "path": link.stdout.decode().strip(),
        "version": told.get("nixosVersion", ""),
        "revision": told.get("configurationRevision"),
        "nixpkgs": told.get("nixpkgsRevision"),
    }


@dataclass(frozen=True, slots=True)
class Roll:
    """Units as they were seen: those that run or should, those that have ended as they should."""

    shown: tuple[Unit, ...]
    ended: tuple[str, ...]

    @property
    def bad(self) -> tuple[str, ...]:
        """The names of those that do not run as they should."""
        return tuple(unit.name for unit in self.shown if unit.active != "active")


async def own_units(machine: Machine, expected: Expected) -> Roll:
    """The units that the definitions start, and every other of ours that is not at rest.

    One that ends by itself may be at work for a moment: it is given time to end.
    """
    argv = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "--full")
    lines = (await run(machine, *argv, *_PATTERNS)).decode(errors="replace").splitlines()
    names = {line.split()[0] for line in lines if line.strip()}
    names |= {*expected.running, *expected.ending, SOPS_UNIT}
    for _ in range(_LOOKS):
        seen = await units.show(machine, names)
        if not any(seen[name].active in _AT_WORK for name in expected.ending):
            break
        await asyncio.sleep(_LOOK_AGAIN_S)
    return call_roll(seen, expected)


def call_roll(seen: Mapping[str, Unit], expected: Expected) -> Roll:
    """Sort units that were seen; those of ours that nothing starts come and go as they like."""
    wanted = on_this_host(seen, expected)
    ended = tuple(name for name in wanted.ending if _has_ended_well(seen[name]))
    shown = tuple(
        unit
        for name, unit in seen.items()
        if name not in ended
        and (
            unit.active in ("active", "failed")
            or unit.sub == "auto-restart"
            or name in wanted.running
            or name in wanted.ending
        )
    )
    return Roll(shown, ended)


def on_this_host(seen: Mapping[str, Unit], expected: Expected) -> Expected:
    """What is expected, but for what takes another's place where sops-nix installs the secrets.

    An instance without services that are issued anything has no unit for that there either.
    """
    if seen[SOPS_UNIT].load != "loaded":
        return expected
    running = (*(name for name in expected.running if name != SECRETS_UNIT), SOPS_UNIT)
    ending = tuple(name for name in expected.ending if seen[name].load == "loaded")
    return Expected(running, ending)


def _has_ended_well(unit: Unit) -> bool:
    return (unit.load, unit.active, unit.result) == ("loaded", "inactive", "success")
