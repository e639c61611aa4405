"""Probe of the engine of recipe CI."""

from __future__ import annotations

from typing import Literal

from agency.spinup.probes.probe import Here, probe
from agency.spinup.probes.shop.client import Ports, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

CI_UNITS = {
    "builtin": ("agency-runner.service",),
    "drone": ("drone-server.service", "drone-runner.service"),
    "woodpecker": ("woodpecker-server.service", "woodpecker-agent-local.service"),
    "gitea-actions": ("gitea-runner-recipes.service",),
}


class Engine(Ports):
    """Engine that the instance chose."""

    engine: Literal["builtin", "drone", "woodpecker", "gitea-actions"]


@probe("shop.ci", Engine)
async def engine(here: Here, told: Engine) -> Evidence:
    """Look at the engine's units; one that serves pages also says its health and version."""
    seen = {**await frame(here, *CI_UNITS[told.engine]), "engine": told.engine}
    if told.engine in ("builtin", "gitea-actions"):  # whose server is the forge
        return {**seen, "health": None, "version": None}
    async with service(told.of(told.engine)) as client:
        health = await client.get("/healthz")
        version = await client.get("/version")
    return {**seen, "health": health.seen, "version": version.json()["version"]}
