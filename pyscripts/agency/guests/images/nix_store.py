"""This machine's Nix on behalf of a NixOS guest: building the run's system, and carrying it over.

A run has an instance of its own, so its system is not the one in the image. It is built here, where
the build's inputs are, and the guest gets the few store paths that it lacks; what it then evaluates
from its clone is there already.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agency.archive import unpack
from agency.errors import BadInputError
from agency.guests.images.nixos import NIX_BUILD, NIX_INSTALL_HINT, OUTPUTS, nix_build
from agency.guests.incus.model import Kind
from agency.machine import process
from agency.programs import ProgramError, find_program

MAX_EXPORT = 256 * 1024 * 1024

_STORE_S = 300.0


@dataclass(frozen=True, slots=True)
class WantedSystem:
    """A system to build: an archive of a source, an instance, and the kind of guest."""

    archive: bytes
    instance: Path
    kind: Kind


def system_argv(kind: Kind, source: Path, instance: Path) -> tuple[str, ...]:
    """Make the call of Nix that builds a guest's whole system; it prints where that is."""
    system = f"nixosConfigurations.{OUTPUTS[kind].attribute}.config.system.build.toplevel"
    return (
        *(*NIX_BUILD, "--no-write-lock-file", "--override-input", "instance", f"path:{instance}"),
        f"path:{source}#{system}",
    )


async def build_system(wanted: WantedSystem, directory: Path, *, marker: str) -> str:
    """Build a guest's system in an empty directory; returns its store path.

    Raises:
        PrerequisiteError: Nix is missing.
        BuildError: it cannot be built; its `log_tail` says why.
    """
    source = directory / "source"
    await asyncio.to_thread(unpack, wanted.archive, source)
    return str(
        await nix_build(system_argv(wanted.kind, source, wanted.instance), directory, marker)
    )


async def missing_paths(system: str, present: Iterable[str]) -> list[str]:
    """List what of a system's closure is not in `present`, each path after those that it needs."""
    listed = await _ask("--query", "--requisites", system)
    there = set(present)
    return [path for path in listed.decode().split() if path not in there]


async def export(paths: list[str]) -> bytes:
    """Store paths as `nix-store --import` takes them.

    Raises:
        ProgramError: Nix has not all of them.
        BadInputError: they are more than a few files of configuration; nothing of them was read.
    """
    sizes = await _ask("--query", "--size", *paths)
    size = sum(int(line) for line in sizes.split())
    if size > MAX_EXPORT:
        raise BadInputError(
            f"the run's system differs from the image's by {size // 2**20} MiB",
            where=paths[-1],
            hint="is the image of this very source?",
        )
    return await _ask("--export", *paths)


async def _ask(*arguments: str) -> bytes:
    """Run nix-store and return what it prints; it ends when this is cancelled.

    Raises:
        PrerequisiteError: it is not installed.
        ProgramError: it failed, or did not end in time.
    """
    argv = (find_program("nix-store", hint=NIX_INSTALL_HINT), *arguments)
    try:
        done = await process.run(argv, os.environ, b"", _STORE_S, most=2 * MAX_EXPORT)
    except TimeoutError as error:
        raise ProgramError(f"no end after {_STORE_S:g} s", where="nix-store") from error
    if done.truncated:
        raise ProgramError(f"said more than {2 * MAX_EXPORT} bytes", where="nix-store")
    if done.exit_status != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise ProgramError(f"exit status {done.exit_status}: {last}", where="nix-store")
    return done.stdout
