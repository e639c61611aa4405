"""Switching a NixOS guest to a source, offline, and what is then seen of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from agency.archive import archive
from agency.clock import Clock
from agency.guests import OUTPUTS, Change, Guest, Kind
from agency.machine import digests_from
from agency.source_digest import source_files
from agency.spinup.record import Evidence

SOURCE = PurePosixPath("/var/lib/agency-source")  # the clone in the guest; root's alone
INSTANCE = PurePosixPath("/var/lib/agency-instance")  # what takes the place of its instance

PROGRAMS = PurePosixPath("/run/current-system/sw/bin")
_CURRENT = "/run/current-system"
_LAID_DOWN = ("/etc/systemd/system", "/etc/agency")
_UNPACK_S = 120.0


def source_archive(source: Path) -> bytes:
    """Pack the files of a source, as its digest counts them; all of it is root's."""

    return archive((path, source / path) for path in source_files(source))


def switch_argv(kind: Kind, instance: PurePosixPath | None = None) -> tuple[str, ...]:
    """Make the call of nixos-rebuild in the guest, offline; `instance` replaces the source's."""
    override = ("--override-input", "instance", f"path:{instance}") if instance else ()
    return (
        *(str(PROGRAMS / "nixos-rebuild"), "switch", "--no-reexec", "--offline"),
        *("--no-write-lock-file", *override),
        *("--flake", f"path:{SOURCE}#{OUTPUTS[kind].attribute}"),
    )


async def put_tree(guest: Guest, packed: bytes, place: PurePosixPath) -> None:
    """Have a directory of a guest hold what an archive holds, and nothing else; root's alone."""
    await guest.run("rm", "--recursive", "--force", str(place))
    await guest.run("mkdir", "--parents", "--mode=0700", str(place))
    await guest.unpack(packed, place, timeout_s=_UNPACK_S)


async def rebuild(
    guest: Guest, *, clock: Clock, timeout_s: float, instance: PurePosixPath | None = None
) -> Evidence:
    """Switch to the source that the guest has, with its own instance or another.

    Return what changed and the system that runs now; `systemDigest` is the hash of its NAR.

    Raises:
        MachineError: it cannot be evaluated, built or switched to; `log_tail` is the end of what
            nixos-rebuild said.
    """
    started = clock.steady()
    before = await _current(guest)
    await guest.run(*switch_argv(guest.kind, instance), timeout_s=timeout_s)
    system = await _current(guest)
    changes = [Change("system", _CURRENT, before, system)] if system != before else []
    files = ("find", "-L", *_LAID_DOWN, "-maxdepth", "2", "-type", "f")
    digests = digests_from(await guest.run(*files, "-exec", "sha256sum", "--", "{}", "+"))
    seconds = round(clock.steady() - started, 3)
    digest = await guest.run(str(PROGRAMS / "nix-store"), "--query", "--hash", system)
    return {
        "changed": bool(changes),
        "changes": [change.as_dict() for change in changes],
        "digests": digests,
        "seconds": seconds,
        "system": system,
        "systemDigest": digest.decode().strip(),
    }


async def _current(guest: Guest) -> str:
    done = await guest.run("readlink", "--canonicalize-existing", _CURRENT)
    return done.decode().strip()
