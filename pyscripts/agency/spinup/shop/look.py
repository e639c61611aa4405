"""Look at the shop of a machine: list what is enabled, and take the probe of all that is there.

instance ──▶ enabled ──▶ agency observe shop.units ──▶ shop.services
                                 └─ those that are here ──▶ agency observe shop.NAME, one each
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from agency.canonical import canonical_json, sha256_hex
from agency.instance import Instance, LoadedInstance, rendered_files
from agency.spinup.record import Evidence, Recorder
from agency.spinup.shop.services import Service, enabled, listed, pages

SERVICES, UNITS = "shop.services", "shop.units"
METRICS = "metrics.scraped"
# Shown by probes that every spin-up takes, or at another moment.
_ELSEWHERE = frozenset(("matrix", "prometheus"))

Observe = Callable[[str, Mapping[str, object] | None], Awaitable[Evidence]]


def instance_digest(loaded: LoadedInstance) -> str:
    """Digest all that an instance renders to: the subject `instance` of its transcripts."""
    rendered = {name: sha256_hex(data) for name, data in rendered_files(loaded).items()}
    return sha256_hex(canonical_json(rendered))


@dataclass(slots=True)
class Shop:
    """The services of one machine; `observe` runs a probe there."""

    recorder: Recorder
    observe: Observe
    loaded: LoadedInstance
    # Probes of what a stand-in of a program has made: no gate takes them.
    simulated: frozenset[str] = frozenset()
    here: set[str] = field(default_factory=set)

    async def look(self) -> None:
        """Record which services are there, and what each that is there shows."""
        services = enabled(self.loaded.instance)
        seen = await self.recorder.probe(SERVICES, lambda: self._list(services))
        self.here = {one["service"] for one in seen.get("services", ()) if one["here"]}
        for service in services:
            if service.name in self.here - _ELSEWHERE:
                await self._take(f"shop.{service.name}", service.told)

    async def also(self, names: Collection[str], instance: Instance) -> None:
        """Record what further services show, which `instance` enables and no list demands."""
        for service in enabled(instance):
            if service.name in names and service.name not in self.here:
                self.here.add(service.name)
                await self._take(f"shop.{service.name}", service.told)

    async def metrics(self, working: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """Record what Prometheus says, where it is there, of the agents that are `working`."""
        if "prometheus" in self.here:

            async def collect() -> Evidence:
                return await self.observe(METRICS, {"agents": list(await working())})

            await self.recorder.probe(METRICS, collect)

    async def _list(self, services: tuple[Service, ...]) -> Evidence:
        units = sorted({service.unit for service in services})
        seen = await self.observe(UNITS, {"units": units})
        return {
            "instance": seen["instance"],
            "rendered": await asyncio.to_thread(instance_digest, self.loaded),
            "services": listed(services, seen["units"]),
            "pages": list(pages(self.loaded.instance)),
        }

    async def _take(self, probe: str, told: Mapping[str, object]) -> None:
        await self.recorder.probe(
            probe, lambda: self.observe(probe, told), simulated=probe in self.simulated
        )
