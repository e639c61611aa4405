"""Probe of recipe CI as a whole: what its reconcilers did and what came of it.

`journalctl` says what each run of a reconciler told, Docker what is there, and the services their
health. Which abra deployed Traefik is part of the evidence: a stand-in says that it is one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

from agency.canonical import sha256_hex
from agency.programs import run_program
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.probes.shop.client import Client, Ports, service
from agency.spinup.probes.shop.frame import frame, show
from agency.spinup.probes.shop.swarm import SOCKET
from agency.spinup.record import Evidence

PROBE = "recipes.converged"
RECONCILERS = {
    name: f"agency-reconcile-{name}.service" for name in ("swarm-init", "proxy-network", "traefik")
}
UNITS = (
    *("docker.service", "agency-bridge.service", "agency-dashboard.service"),
    "agency-runner.service",
)
PAGES = ("bridge", "dashboard", "runner")
_ASK_S = 20.0
_LOOKS = re.compile(r'(?m)^agency_bridge_looks_total\{result="(done|failed)"\} (\S+)$')
_FIELDS = "--output-fields=MESSAGE,_SYSTEMD_INVOCATION_ID"


class Told(Nothing):
    """Input: the program abra, by its place on this machine."""

    abra: Path
    ports: dict[str, int] = {}  # noqa: RUF012 - pydantic copies it
    socket: Path = SOCKET


@probe(PROBE, Told)
async def converged(here: Here, told: Told) -> Evidence:
    """Tell what the reconcilers of the swarm did, what runs on it, and how the services are."""
    seen = await frame(here, *UNITS)
    results = {unit.name: unit.result for unit in await show(RECONCILERS.values())}
    runs = [
        {
            "name": name,
            "unit": unit,
            "result": results[unit],
            "runs": await asyncio.to_thread(_runs, name, unit),
        }
        for name, unit in RECONCILERS.items()
    ]
    async with service(0, socket=told.socket) as docker:
        swarm = {
            "version": (await docker.get("/version")).json()["Version"],
            "networks": await _networks(docker),
            "services": await _services(docker),
        }
    pages = [await _page(Ports(ports=told.ports), name) for name in PAGES]
    abra = await asyncio.to_thread(_abra, told.abra)
    looks = await _looks(Ports(ports=told.ports))
    return {**seen, "reconcilers": runs, **swarm, "pages": pages, "looks": looks, "abra": abra}


def _runs(name: str, unit: str) -> list[Evidence]:
    """List the runs of a reconciler by what each said in the end, the oldest first."""
    argv = ["journalctl", "--quiet", "--no-pager", "--output=json", _FIELDS, f"--unit={unit}"]
    last: dict[str, str] = {}
    for line in run_program(argv, timeout=_ASK_S).splitlines():
        entry: Mapping[str, object] = json.loads(line)
        said, run = str(entry.get("MESSAGE")), entry.get("_SYSTEMD_INVOCATION_ID")
        if isinstance(run, str) and said.startswith(f"{name}: "):
            last[run] = said
    return [{"invocation": run, "said": said} for run, said in last.items()]


async def _networks(docker: Client) -> list[Evidence]:
    """List the networks of the swarm; those of the machine alone say nothing here."""
    listed = (await docker.get("/networks")).json()
    return [
        {"id": one["Id"], "name": one["Name"], "driver": one["Driver"], "scope": one["Scope"]}
        for one in sorted(listed, key=lambda one: str(one["Name"]))
        if one["Driver"] == "overlay"
    ]


async def _services(docker: Client) -> list[Evidence]:
    """List the services of the swarm, with their tasks that run."""
    tasks = (await docker.get("/tasks")).json()
    found = []
    for one in (await docker.get("/services")).json():
        spec = one["Spec"]
        running = [
            task
            for task in tasks
            if task["ServiceID"] == one["ID"] and task["Status"]["State"] == "running"
        ]
        found.append(
            {
                "name": spec["Name"],
                "image": spec["TaskTemplate"]["ContainerSpec"]["Image"],
                "running": len(running),
                "networks": sorted(
                    network["Target"] for network in spec["TaskTemplate"].get("Networks") or []
                ),
            }
        )
    return found


async def _page(ports: Ports, name: str) -> Evidence:
    async with service(ports.of(name)) as client:
        reply = await client.get("/health")
    return {"name": name, **reply.seen, "digest": reply.digest}


async def _looks(ports: Ports) -> Evidence:
    """Count the bridge's looks at the forge: those of a guest fail, for it has no forge."""
    async with service(ports.of("bridge")) as client:
        text = (await client.get("/metrics")).body.decode()
    return {result: int(float(value)) for result, value in _LOOKS.findall(text)}


def _abra(program: Path) -> Evidence:
    said = run_program([str(program), "--version"], timeout=_ASK_S)
    return {"version": said.decode().strip(), "digest": sha256_hex(program.read_bytes())}
