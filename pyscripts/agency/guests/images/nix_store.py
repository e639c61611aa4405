"""This machine's Nix on behalf of a NixOS guest: building the run's system, and carrying it over.

A run has an instance of its own, so its system is not the one in the image. It is built here, where
the build's inputs are, and the guest gets the few store paths that it lacks; what it then evaluates
from its clone is there already.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError
from agency.guests.images.builder import Job, outer_environment, run_job
from agency.guests.images.nixos import (
    BUILD_HINT,
    FEATURES,
    NIX_INSTALL_HINT,
    OUTPUTS,
    PASSED_ON,
    printed_path,
)
from agency.guests.incus.model import Kind
from agency.programs import ProgramError, find_program

MAX_EXPORT = 256 * 1024 * 1024

_BUILD_S = 1800.0
_STORE_S = 300.0


@dataclass(frozen=True, slots=True)
class WantedSystem:
    """A system to build: an archive of a source, an instance, and the kind of guest."""

    archive: bytes
    instance: Path
    kind: Kind


def system_argv(kind: Kind, source: Path, instance: Path) -> tuple[str, ...]:
    """The call of Nix that builds a guest's whole system; it prints where that is."""
    system = f"nixosConfigurations.{OUTPUTS[kind].attribute}.config.system.build.toplevel"
    return (
        *("nix", "build", "--extra-experimental-features", FEATURES),
        *("--no-link", "--print-out-paths", "--no-write-lock-file"),
        *("--override-input", "instance", f"path:{instance}"),
        f"path:{source}#{system}",
    )


async def build_system(wanted: WantedSystem, directory: Path, *, marker: str) -> str:
    """Build a guest's system in an empty directory; returns its store path.

    Raises:
        PrerequisiteError: Nix is missing.
        BuildError: it cannot be built; its `log_tail` says why.
    """
    source = directory / "source"
    await asyncio.to_thread(_unpack, wanted.archive, source)
    job = Job(
        name="nix build",
        argv=system_argv(wanted.kind, source, wanted.instance),
        directory=directory,
        log=directory / "build.log",
        timeout_s=_BUILD_S,
        marker=marker,
        hint=BUILD_HINT,
    )
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    await run_job(job, env=outer_environment() | passed_on)
    return str(printed_path(job.log))


def _unpack(archive: bytes, into: Path) -> None:
    into.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")


async def missing_paths(system: str, present: Iterable[str]) -> list[str]:
    """What of a system's closure is not among `present`, each path after those that it needs."""
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
    """What nix-store prints; it ends when this is cancelled.

    Raises:
        PrerequisiteError: it is not installed.
        ProgramError: it failed, or did not end in time.
    """
    program = find_program("nix-store", hint=NIX_INSTALL_HINT)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_STORE_S):
            answer, said = await process.communicate()
    except TimeoutError as error:
        raise ProgramError(f"no end after {_STORE_S:g} s", where="nix-store") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = (said.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise ProgramError(f"exit status {process.returncode}: {last}", where="nix-store")
    return answer
