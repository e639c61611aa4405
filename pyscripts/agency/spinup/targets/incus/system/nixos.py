"""NixOS as a guest's system: its clone of the source, and `nixos-rebuild switch`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agency.archive import archive, tree
from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.guests import (
    FACTS,
    Change,
    Guest,
    Image,
    ProviderPack,
    WantedSystem,
    build_system,
    export,
    hold_nixos_image,
    hold_provider,
    missing_paths,
    put_age_key,
)
from agency.instance import LoadedInstance
from agency.machine import Machine, digests_from, run, units
from agency.secrets import AgeKey
from agency.spinup.convergence import (
    CONTROL_SOCKET,
    Converging,
    Tampering,
    file_digest,
    firewall_digest,
    stopped_unit,
)
from agency.spinup.expected import by_export
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.system import Ground, GuestSystem, Programs, Provisioned
from agency.spinup.targets.incus.system import switch as nixos
from agency.transcript import CONTROL_UNIT, FIREWALL_UNIT

PROGRAMS = Programs(*(str(nixos.PROGRAMS / name) for name in ("agency", "python3", "node")))

_PORTABLE = Path("modules") / "portable"
# Where sops-nix puts secrets in place, no unit of ours does.
_OUR_SECRETS_UNIT, _SECRETS_UNIT = "agency-secrets.service", "sops-install-secrets.service"
_DECLARED, _ETC, _OURS = "/run/current-system/etc", "/etc", "agency"
_CONTROL_FILE = "/etc/agency/control.json"
_CURRENT = "/run/current-system"
_STORE = str(nixos.PROGRAMS / "nix-store")
_REQUISITES = (_STORE, "--query", "--requisites")
_IMPORT_S = 300.0


@contextlib.asynccontextmanager
async def hold_nixos(ground: Ground) -> AsyncIterator[GuestSystem]:
    """See Hold.

    Raises:
        PrerequisiteError: Nix, npm, rights or disk space are missing.
        BuildError: something cannot be built; its `log_tail` says why.
    """
    async with (
        hold_provider(ground.base, marker=ground.marker) as provider,
        hold_nixos_image(ground.base, ground.source, ground.kind, marker=ground.marker) as image,
    ):
        yield NixosSystem(ground, image, provider)


@dataclass(frozen=True, slots=True)
class NixosSystem:
    """See GuestSystem."""

    ground: Ground
    image: Image
    provider: ProviderPack
    programs: Programs = PROGRAMS

    def image_facts(self) -> Evidence:
        """See GuestSystem: what Nix built."""
        return {"built": json.loads((self.image.directory / FACTS).read_text())["built"]}

    async def provision(
        self, guest: Guest, loaded: LoadedInstance, key: AgeKey, *, timeout_s: float
    ) -> Provisioned:
        """See GuestSystem; with what the run's own system has beside that of the image."""
        packed = await asyncio.to_thread(nixos.source_archive, self.ground.source)
        await nixos.put_tree(guest, packed, nixos.SOURCE)
        await nixos.put_tree(guest, archive(tree(loaded.root)), nixos.INSTANCE)
        wanted = WantedSystem(packed, loaded.root, self.ground.kind)
        # Beside the instance, in the directory that the run removes.
        place = loaded.root.parent / "system"
        system = await build_system(wanted, place, marker=self.ground.marker)
        present = (await guest.run(*_REQUISITES, _CURRENT)).decode().split()
        missing = await missing_paths(system, present)
        if missing:
            data = await export(missing)
            await guest.run(_STORE, "--import", stdin=data, timeout_s=_IMPORT_S)
        await put_age_key(guest, key.identity)
        return Provisioned(
            lambda: packages(guest, system), self.convergence(guest, timeout_s=timeout_s)
        )

    def convergence(self, guest: Guest, *, timeout_s: float) -> Converging:
        """Describe how a guest that has its source and instance is activated."""
        portable = self.ground.source / _PORTABLE
        names = json.loads((portable / "start.json").read_text())["units"]
        switching = Switching(guest, (*names, _SECRETS_UNIT), timeout_s)
        expected = by_export(portable, {*names} - {_OUR_SECRETS_UNIT})
        return Converging(guest, switching, nixos_tamperings(guest), expected)


async def packages(machine: Machine, system: str) -> Evidence:
    """List the closure of the system that the guest is to switch to."""
    listed = await run(machine, *_REQUISITES, system)
    return {"of": system, **closure_packages(listed.decode().split())}


# A store path's name: name, then a version that begins with a digit, then perhaps an output.
_STORE_NAME = re.compile(r"/nix/store/[0-9a-z]{32}-(.+?)-([0-9][^/]*)")
_PYTHON = re.compile(r"python3\.[0-9]+-(.+)")
_AGENCY = "agency"


def closure_packages(paths: Iterable[str]) -> Evidence:
    """Name the packages of store paths by version; those without a version are only counted.

    Of a package with several outputs or versions all are named. `closure` is the digest of all
    paths, in their order by name.
    """
    listed = sorted(set(paths))
    system: dict[str, set[str]] = {}
    python: dict[str, str] = {}
    for path in listed:
        found = _STORE_NAME.fullmatch(path)
        if found is None:
            continue
        name, version = found[1], found[2]
        system.setdefault(name, set()).add(version)
        library = _PYTHON.fullmatch(name)
        if library or name == _AGENCY:
            python[library[1] if library else name] = version
    return {
        "system": {name: ", ".join(sorted(versions)) for name, versions in system.items()},
        "python": python,
        "storePaths": len(listed),
        "closure": sha256_hex(canonical_json(listed)),
    }


@dataclass(slots=True)
class Switching:
    """See Activates: `nixos-rebuild switch`, always with the same source and instance.

    `names` are the units that the evidence is about. NixOS has no check that lists drift; it is
    looked for where an activation would mend it: files of ours below /etc that are not those of the
    system, and units that ran after an activation and do not run now.
    """

    guest: Guest
    names: tuple[str, ...]
    timeout_s: float
    clock: Clock = field(default_factory=Clock)
    _ran: tuple[str, ...] = ()

    async def activate(self, *, check: bool = False) -> Evidence:
        """See Activates."""
        if check:
            return {"changes": [change.as_dict() for change in await self._differences()]}
        switched = await nixos.rebuild(
            self.guest, clock=self.clock, timeout_s=self.timeout_s, instance=nixos.INSTANCE
        )
        shown = await units.show(self.guest, self.names)
        seen = [unit for unit in shown.values() if unit.load == "loaded"]
        active = (unit.name for unit in seen if unit.active == "active")
        self._ran = tuple(dict.fromkeys((*self._ran, *active)))
        return {
            **switched,
            "units": [
                {"name": u.name, "active": u.active, "sub": u.sub, "seconds": u.to_active_s}
                for u in seen
            ],
        }

    async def _differences(self) -> list[Change]:
        declared, real = await self._digests(_DECLARED), await self._digests(_ETC)
        files = [
            Change("file", f"etc/{path}", real.get(path, "absent"), digest)
            for path, digest in declared.items()
            if real.get(path) != digest
        ]
        shown = await units.show(self.guest, self._ran) if self._ran else {}
        stopped = [
            Change("unit", name, f"{unit.active} ({unit.sub})", "active")
            for name, unit in shown.items()
            if unit.active != "active"
        ]
        return [*files, *stopped]

    async def _digests(self, base: str) -> dict[str, str]:
        """Compute the SHA-256 of every file of ours, by its path below `base`."""
        place = f"{base}/{_OURS}"
        argv = ("find", "-L", place, "-type", "f", "-exec", "sha256sum", "--", "{}", "+")
        summed = digests_from(await run(self.guest, *argv))
        return {path.removeprefix(f"{base.lstrip('/')}/"): one for path, one in summed.items()}


def nixos_tamperings(machine: Machine) -> tuple[Tampering, ...]:
    """List what can drift on NixOS, where the store is read-only: a link, a unit, the firewall."""

    async def replace() -> None:
        content = await run(machine, "cat", _CONTROL_FILE)
        await run(machine, "rm", _CONTROL_FILE)
        await run(machine, "tee", _CONTROL_FILE, stdin=content + b"\n")

    firewall = stopped_unit(machine, FIREWALL_UNIT)
    return (
        Tampering(f"file {_CONTROL_FILE}", replace, lambda: file_digest(machine, _CONTROL_FILE)),
        stopped_unit(machine, CONTROL_UNIT, CONTROL_SOCKET),
        Tampering(f"firewall of {FIREWALL_UNIT}", firewall.plant, lambda: firewall_digest(machine)),
    )
