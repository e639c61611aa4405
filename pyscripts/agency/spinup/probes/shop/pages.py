"""Probes of Grafana, and of our own pages of recipe CI."""

from __future__ import annotations

from agency.spinup.probes.probe import Here, probe
from agency.spinup.probes.shop.client import Ports, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence


@probe("shop.grafana", Ports)
async def grafana(here: Here, told: Ports) -> Evidence:
    """Ask Grafana for its version and its database."""
    seen = await frame(here, "grafana.service")
    async with service(told.of("grafana")) as client:
        reply = await client.get("/api/health")
    said = reply.json()
    return {**seen, **reply.seen, "version": said["version"], "database": said["database"]}


@probe("shop.bridge", Ports)
async def bridge(here: Here, told: Ports) -> Evidence:
    """Ask the comment bridge for its health."""
    return await _page(here, told, "bridge")


@probe("shop.dashboard", Ports)
async def dashboard(here: Here, told: Ports) -> Evidence:
    """Ask the dashboard for its health."""
    return await _page(here, told, "dashboard")


async def _page(here: Here, told: Ports, name: str) -> Evidence:
    seen = await frame(here, f"agency-{name}.service")
    async with service(told.of(name)) as client:
        reply = await client.get("/health")
    return {**seen, **reply.seen, "digest": reply.digest}
