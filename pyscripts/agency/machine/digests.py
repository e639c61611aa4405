"""Digests of files on a machine, read from its sha256sum."""

from __future__ import annotations

from collections.abc import Iterable

from agency.machine.machine import Machine


async def read_digests(machine: Machine, paths: Iterable[str]) -> dict[str, str]:
    """Read the SHA-256 of each file, by its path below /; leave out unreadable files."""
    wanted = sorted(f"/{path.lstrip('/')}" for path in paths)
    done = await machine.look("sha256sum", "--", *wanted)
    return digests_from(done.stdout)


def digests_from(summed: bytes) -> dict[str, str]:
    """Parse the output of sha256sum into a map of path below / to SHA-256.

    sha256sum escapes names with a backslash, and marks such lines with one.
    """
    found = {}
    for line in summed.decode(errors="replace").splitlines():
        digest, _, path = line.partition("  ")
        if digest.startswith("\\"):
            digest, path = digest[1:], path.replace("\\\\", "\\")
        found[path.lstrip("/")] = digest
    return found
