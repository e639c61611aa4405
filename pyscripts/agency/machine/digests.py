"""The digests of files on a machine, as its sha256sum says them."""

from __future__ import annotations

from collections.abc import Iterable

from agency.machine.machine import Machine


async def digests(machine: Machine, paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file by its path below /; what cannot be read is left out."""
    wanted = sorted(f"/{path.lstrip('/')}" for path in paths)
    done = await machine.look("sha256sum", "--", *wanted)
    return digests_from(done.stdout)


def digests_from(summed: bytes) -> dict[str, str]:
    """Path below / to SHA-256, from what sha256sum prints.

    It escapes names with a backslash, and marks such lines with one.
    """
    found = {}
    for line in summed.decode(errors="replace").splitlines():
        digest, _, path = line.partition("  ")
        if digest.startswith("\\"):
            digest, path = digest[1:], path.replace("\\\\", "\\")
        found[path.lstrip("/")] = digest
    return found
