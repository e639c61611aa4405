"""What is seen of a guest, as evidence for its probes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from agency import quarantine
from agency.guests import Decision, Guest, Incus, Server
from agency.locks import is_held
from agency.machine import Machine, run, units
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.system import GuestSystem
from agency.spinup.targets.incus.system.choice import SystemDecision

_MIB = 2**20
_SYNAPSE_DATABASE = "matrix-synapse"
# What is asked of a guest in which nothing of ours is installed yet: this module alone is enough.
_OFFLINE = f"""{Path(quarantine.__file__).read_text()}

import json
from dataclasses import asdict

seen = interfaces()
tried = [asdict(one) for one in attempt_outbound()] if seen == ["lo"] else []
print(json.dumps({{"interfaces": seen, "attempts": tried}}))
"""


def image(
    system: GuestSystem, decision: Decision, choice: SystemDecision, server: Server
) -> Evidence:
    """What a guest is made from, and why from that."""
    made = system.image
    return {
        "kind": str(decision.kind),
        "kindReason": decision.reason,
        "system": str(choice.system),
        "systemReason": choice.reason,
        "fingerprint": made.fingerprint,
        "recipe": made.digest,
        "fresh": made.fresh,
        "incusVersion": server.version,
        **system.image_facts(),
    }


async def running(guest: Guest, seconds: float) -> Evidence:
    """systemd's word on the whole machine, and what Incus says that it is made from.

    `seconds` since it began to be made.
    """
    state = await guest.look("systemctl", "is-system-running")
    made = await guest.incus.instance(guest.name)
    return {
        "kind": str(made.kind) if made else "unknown",
        "image": made.image if made else "unknown",
        "state": state.stdout.decode(errors="replace").strip(),
        "failedUnits": list(await units.failed(guest)),
        "bootId": await guest.boot_id(),
        "networkDevices": list(made.network_devices) if made else ["unknown"],
        "runningAfterS": seconds,
    }


async def offline(machine: Machine) -> Evidence:
    """The guest's interfaces, and how attempts to leave it end; none is made where one might."""
    seen = json.loads(await run(machine, "python3", "-I", "-", stdin=_OFFLINE.encode()))
    mode = "guest" if seen["interfaces"] == ["lo"] else "none"
    return {"mode": mode, **seen}


async def databases(machine: Machine, store: Evidence) -> Evidence:
    """The versions of the database server and of both schemas; the store says its own."""
    server = await _query(machine, "SHOW server_version")
    schema = await _query(machine, "SELECT version FROM schema_version")
    return {
        "server": server.split(" ")[0],
        "homeserverSchema": int(schema),
        "controlSchema": store["revision"],
    }


async def _query(machine: Machine, sql: str) -> str:
    psql = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--host=/run/postgresql")
    argv = ("runuser", "--user", "postgres", "--", *psql, "--command", sql, _SYNAPSE_DATABASE)
    return (await run(machine, *argv)).decode().strip()


@dataclass(slots=True)
class Meter:
    """Reads what a guest uses, as its host counts it, and remembers the most memory seen."""

    guest: Guest
    _most: int = 0

    async def read(self) -> Evidence:
        """Read what is used now, and was at most.

        Of a virtual machine Incus knows no peak: that is then the most that was seen, in bytes.
        """
        seen = await self.guest.usage()
        self._most = max(self._most, seen.memory or 0)

        def megabytes(count: int | None) -> float | None:
            return None if count is None else round(count / _MIB, 1)

        return {
            "memoryMb": megabytes(seen.memory),
            "memoryPeakMb": megabytes(seen.memory_peak or self._most or None),
            "memoryPeakBy": "cgroup" if seen.memory_peak else "looks",
            "cpuS": None if seen.cpu_ns is None else round(seen.cpu_ns / 1e9, 3),
            "processes": seen.processes,
            "diskMb": megabytes(seen.disk),
        }


async def gone(incus: Incus, name: str, base: Path, *, kept: bool) -> Evidence:
    """Whether the guest is still there, and whether anything half-made is."""
    return {
        "name": name,
        "present": await incus.instance(name) is not None,
        "kept": kept,
        "imagesHalfMade": await asyncio.to_thread(_half_made, base),
    }


def _half_made(base: Path) -> int:
    return sum(_is_orphan(path) for path in base.glob("*/.making.*"))


def _is_orphan(half_made: Path) -> bool:
    digest = half_made.name.removeprefix(".making.")
    # In this order: the run that held it may have ended and removed it between the two.
    return not is_held(half_made.parent / f".{digest}.lock") and half_made.exists()
