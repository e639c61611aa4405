"""Probe of Docker as a swarm of this machine, over its socket."""

from __future__ import annotations

from pathlib import Path

from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.probes.shop.client import service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

SOCKET = Path("/run/docker.sock")


class Docker(Nothing):
    """Docker's socket."""

    socket: Path = SOCKET


@probe("shop.swarm", Docker)
async def swarm(here: Here, told: Docker) -> Evidence:
    """Ask Docker for its version, and what it is in its swarm."""
    seen = await frame(here, "docker.service")
    async with service(0, socket=told.socket) as client:
        said = (await client.get("/info")).json()
    one = said["Swarm"]
    return {
        **seen,
        "version": said["ServerVersion"],
        "state": one["LocalNodeState"],
        "manager": one["ControlAvailable"],
        "nodes": one.get("Nodes", 0),
    }
