"""A throwaway guest from start to verified transcript, beside a bare guest of the same image.

Image and wheels are cached where `spinup_smoke` caches them, and are made first: the measured run
finds its image there. The bare guest is made, booted and destroyed right before it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agency import rundir
from agency.clock import new_id
from agency.errors import AgencyError
from agency.guests.incus.daemon import connect_incus, host_socket
from agency.guests.machines.janitor import Owner
from agency.guests.machines.machine import Guest
from agency.paths import state_dir
from agency.source_digest import source_root
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.creation import Made, Maker
from benchmarks.rows import Row

TOTAL_S = 90
RUNNING_S = 15
AGAIN_S = 5
# Of the bare guest on an idle machine.
_USUAL_TOTAL_S, _USUAL_RUNNING_S = 6.0, 4.6
REST_MB = 700

REQUIRE = "AGENCY_REQUIRE_GUEST"
_AGENTS = 2
_PROGRAMS = ("mmdebstrap", "incusd")
_DAEMON_PLACES = "/usr/libexec/incus:/usr/lib/incus"
_RUN_S = 1800
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Bare:
    """Guest with nothing of the agency; times in seconds, memory in MiB as its host counts it."""

    running_s: float
    total_s: float
    start_again_s: float
    memory_mb: float


def missing() -> str | None:
    """Return the missing prerequisite, or None."""
    if os.geteuid() != 0:
        return "only root can make guests"
    places = f"{os.environ.get('PATH', os.defpath)}:{_DAEMON_PLACES}"
    needed = _PROGRAMS[:1] if host_socket() is not None else _PROGRAMS
    lacking = [name for name in needed if shutil.which(name, path=places) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def rows() -> Iterator[Row]:
    """Yield four rows; none, and one printed line, where guests cannot be made."""
    lacking = missing()
    if lacking is not None:
        if os.environ.get(REQUIRE):
            raise click.ClickException(f"guests cannot be measured: {lacking}")
        click.echo(f"GUEST BENCHMARK SKIPPED: {lacking}", err=True)
        return
    try:
        bare = asyncio.run(measure_bare())
    except AgencyError as error:
        raise click.ClickException(f"no bare guest: {error}") from error
    wall, predicate = measure_spin_up()
    yield from rows_of(wall, predicate, bare)


async def measure_bare() -> Bare:
    """Make everything that a guest needs, then make a guest and destroy it."""
    state = state_dir()
    run = rundir.create(state / "runs", new_id("bench"))  # its lock says that the guest is in use
    try:
        async with connect_incus() as client:
            maker = Maker(client, state / "guest", source_root(), Owner(state, run.run), Config())
            async with maker.hold() as made:
                return await _measure_guest(maker, made)
    finally:
        run.remove()


async def _measure_guest(maker: Maker, made: Made) -> Bare:
    begun = time.perf_counter()
    guest = await maker.create(made)
    try:
        await guest.wait_running(timeout_s=maker.config.boot_timeout_s)
        running = time.perf_counter() - begun
        start_again = await _start_again(guest)
        memory = (await guest.usage()).memory
        if memory is None:
            raise click.ClickException("Incus does not tell how much memory a guest uses")
    finally:
        ending = time.perf_counter()
        await guest.destroy()
    total = running + time.perf_counter() - ending
    return Bare(running, total, start_again, memory / _MIB)


async def _start_again(guest: Guest) -> float:
    """Measure the time to start every service that runs already."""
    listing = ("--type=service", "--state=running", "--plain", "--no-legend", "--no-pager")
    listed = await guest.run("systemctl", "list-units", *listing)
    names = [line.split()[0] for line in listed.decode().splitlines() if line.strip()]
    begun = time.perf_counter()
    await guest.run("systemctl", "start", *names)
    return time.perf_counter() - begun


def measure_spin_up() -> tuple[float, Mapping[str, Any]]:
    """Run `spinup_smoke`; return seconds from start to verified transcript, and its predicate."""
    program = str(Path(sys.executable).parent / "spinup_smoke")
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "transcript.json"
        argv = [program, "--target", "incus", "--output", str(output)]
        begun = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_RUN_S, check=False)
        wall = time.perf_counter() - begun
        if done.returncode != 0:
            raise click.ClickException(f"the spin-up failed:\n{done.stdout}{done.stderr}")
        envelope = json.loads(output.read_text())
    return wall, json.loads(base64.b64decode(envelope["payload"]))["predicate"]


def rows_of(wall: float, predicate: Mapping[str, Any], bare: Bare) -> Iterator[Row]:
    """Yield the numbers of a spin-up that took `wall` seconds, from its own evidence."""
    probes = {probe["name"]: probe for probe in predicate["probes"]}
    running = probes["guest.running"]["evidence"]["runningAfterS"]
    again = probes["activation.again"]["durationS"]  # with the call, and a look before and after
    made = "a bare guest of the same image, made, booted and destroyed"
    yield Row("guest.total", wall, "s", made, bare.total_s, TOTAL_S, usual=_USUAL_TOTAL_S)
    booted = "a bare guest of the same image, made and booted"
    yield Row(
        "guest.running", running, "s", booted, bare.running_s, RUNNING_S, usual=_USUAL_RUNNING_S
    )
    started = "systemctl start of every service that runs in a bare guest"
    yield Row("guest.activate_again", again, "s", started, bare.start_again_s, AGAIN_S)
    memory = _memory_at_rest(probes["system.processes"]["evidence"])
    rest = "a bare guest of the same image"
    yield Row("guest.memory_at_rest", memory, "MiB", rest, bare.memory_mb, REST_MB)


def _memory_at_rest(evidence: Mapping[str, Any]) -> float:
    """Read the guest's memory, seen while homeserver, control plane and agents ran."""
    names = {process["name"] for process in evidence["running"]}
    agents = [name for name in names if name.startswith("agent-")]
    if len(agents) < _AGENTS or not {"homeserver", "control"} <= names:
        raise click.ClickException(f"memory was seen while only these ran: {sorted(names)}")
    return float(evidence["machine"]["memoryMb"])
