"""Switching a NixOS guest to a source, offline, and what is then seen of it."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from agency.clock import Clock
from agency.guests import OUTPUTS, Activation, Change, Guest, Kind, UnitSeen
from agency.machine import digests_from
from agency.source_digest import source_files

SOURCE = PurePosixPath("/var/lib/agency-source")  # the clone in the guest; root's alone
INSTANCE = PurePosixPath("/var/lib/agency-instance")  # what takes the place of its instance

PROGRAMS = PurePosixPath("/run/current-system/sw/bin")
_CURRENT = "/run/current-system"
_LAID_DOWN = ("/etc/systemd/system", "/etc/agency")
_UNPACK_S = 120.0
SWITCH_S = 900.0


@dataclass(frozen=True, slots=True)
class Switched:
    """A switch, in the words of an activation, with the system that runs now.

    `system` is its store path, `system_digest` the hash of its NAR as Nix writes it.
    """

    activation: Activation
    system: str
    system_digest: str

    def as_dict(self) -> dict[str, Any]:
        """The facts of `agency activate --json`, and the system."""
        return {
            **self.activation.as_dict(),
            "system": self.system,
            "system_digest": self.system_digest,
        }


def source_archive(source: Path) -> bytes:
    """The files of a source, as its digest counts them, in a tar archive; all of it is root's."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in source_files(source):
            tar.add(source / path, arcname=path, recursive=False, filter=owned)
    return archive.getvalue()


def instance_override(instance: PurePath | None) -> tuple[str, ...]:
    """What has Nix take an instance in place of the one that the source comes with."""
    return () if instance is None else ("--override-input", "instance", f"path:{instance}")


def switch_argv(kind: Kind, instance: PurePosixPath | None = None) -> tuple[str, ...]:
    """The call of nixos-rebuild in the guest: nothing is fetched, for nothing can be."""
    return (
        *(str(PROGRAMS / "nixos-rebuild"), "switch", "--no-reexec", "--offline"),
        *("--no-write-lock-file", *instance_override(instance)),
        *("--flake", f"path:{SOURCE}#{OUTPUTS[kind].attribute}"),
    )


async def switch(
    guest: Guest, archive: bytes, *, clock: Clock, timeout_s: float = SWITCH_S
) -> Switched:
    """Put a source into a NixOS guest and switch to its `throwaway` host.

    `archive` is a tar archive whose top holds flake.nix, such as `source_archive` makes.

    Raises:
        MachineError: it cannot be unpacked, evaluated, built or switched to; `log_tail` is the end
            of what nixos-rebuild said.
        IncusError: a program could not be started or did not end in time.
    """
    await put_tree(guest, archive, SOURCE)
    return await rebuild(guest, clock=clock, timeout_s=timeout_s)


async def put_tree(guest: Guest, archive: bytes, place: PurePosixPath) -> None:
    """Have a directory of a guest hold what an archive holds, and nothing else; root's alone."""
    await guest.run("rm", "--recursive", "--force", str(place))
    await guest.run("mkdir", "--parents", "--mode=0700", str(place))
    await guest.unpack(archive, place, timeout_s=_UNPACK_S)


async def rebuild(
    guest: Guest, *, clock: Clock, timeout_s: float, instance: PurePosixPath | None = None
) -> Switched:
    """Switch to the source that the guest has, with its own instance or another.

    Raises:
        MachineError: it cannot be evaluated, built or switched to; see `switch`.
    """
    started = clock.steady()
    before = await _current(guest)
    await guest.run(*switch_argv(guest.kind, instance), timeout_s=timeout_s)
    system = await _current(guest)
    changed = [Change("system", _CURRENT, before, system)] if system != before else []
    activation = Activation(
        changes=changed,
        units=units_from(await guest.run(*_list_units())),
        digests=digests_from(await guest.run(*_digest_units())),
        seconds=clock.steady() - started,
    )
    digest = await guest.run(str(PROGRAMS / "nix-store"), "--query", "--hash", system)
    return Switched(activation, system, digest.decode().strip())


async def _current(guest: Guest) -> str:
    done = await guest.run("readlink", "--canonicalize-existing", _CURRENT)
    return done.decode().strip()


def _list_units() -> tuple[str, ...]:
    return ("systemctl", "list-units", "--type=service,socket,timer", "--output=json", "--no-pager")


def _digest_units() -> tuple[str, ...]:
    files = ("find", "-L", *_LAID_DOWN, "-maxdepth", "2", "-type", "f")
    return (*files, "-exec", "sha256sum", "--", "{}", "+")


def units_from(listed: bytes) -> list[UnitSeen]:
    """The units that `systemctl list-units --output=json` names, by name."""
    found = (UnitSeen(one["unit"], one["active"], one["sub"]) for one in json.loads(listed))
    return sorted(found, key=lambda unit: unit.name)
