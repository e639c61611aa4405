"""Probe of Prometheus: does every target answer, and what does an agent use?

The numbers are those of the process exporter, which counts by user: an agent is a user.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from agency import naming
from agency.spinup.probes.probe import Here, probe
from agency.spinup.probes.shop.client import Client, Ports, ShopError, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

CPU = 'sum(namedprocess_namegroup_cpu_seconds_total{{groupname="{user}"}})'
MEMORY = 'sum(namedprocess_namegroup_memory_bytes{{groupname="{user}",memtype="resident"}})'
_POLL_S = 1.0

AgentName = Annotated[str, StringConstraints(pattern=f"^{naming.AGENT_NAME_PATTERN}$")]


class Known(Ports):
    """Agents that run, and for how long their numbers may be waited for: scrapes take turns."""

    agents: list[AgentName] = Field(min_length=1, max_length=64)
    within_s: Annotated[float, Field(ge=0, le=90)] = 45.0


@probe("metrics.scraped", Known)
async def scraped(here: Here, told: Known) -> Evidence:
    """Ask Prometheus for its targets, and for the CPU and memory of agents that run."""
    seen = await frame(here, "prometheus.service")
    async with service(told.of("prometheus")) as client:
        version = (await _data(client, "/api/v1/status/buildinfo"))["version"]
        agents = await _patiently(client, told)
        targets = (await _data(client, "/api/v1/targets?state=active"))["activeTargets"]
    return {
        **seen,
        "url": client.base + "/api/v1/targets",
        "version": version,
        "targets": [
            {
                "job": one["labels"]["job"],
                "instance": one["labels"]["instance"],
                "health": one["health"],
                "lastError": one["lastError"],
            }
            for one in targets
        ],
        "agents": agents,
    }


async def _patiently(client: Client, told: Known) -> list[Evidence]:
    """Read all agents' numbers, again until they are there and every target has been asked."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + told.within_s
    while True:
        found = [await _use(client, name) for name in told.agents]
        targets = (await _data(client, "/api/v1/targets?state=active"))["activeTargets"]
        asked = all(one["health"] != "unknown" for one in targets)
        there = [one for one in found if one is not None]
        if (asked and len(there) == len(found)) or loop.time() >= deadline:
            return there
        await asyncio.sleep(_POLL_S)


async def _use(client: Client, name: str) -> Evidence | None:
    """Read what an agent uses; None where Prometheus has no number of it."""
    user = naming.agent_user(name)
    numbers = [await _number(client, query.format(user=user)) for query in (CPU, MEMORY)]
    cpu, memory = numbers
    if cpu is None or memory is None or memory[0] == 0:  # it has ended, and is remembered
        return None
    age = max(cpu[1], memory[1])
    return {"name": name, "cpuS": cpu[0], "memoryBytes": memory[0], "ageS": round(age, 3)}


async def _number(client: Client, expression: str) -> tuple[float, float] | None:
    """Read a value, and the seconds since it was scraped by Prometheus' own clock."""
    value = await _query(client, expression)
    inner = expression.removeprefix("sum(").removesuffix(")")
    age = await _query(client, f"time() - min(timestamp({inner}))")
    return None if value is None or age is None else (value, age)


async def _query(client: Client, expression: str) -> float | None:
    found = await _data(client, "/api/v1/query?" + urlencode({"query": expression}))
    result: Sequence[dict[str, Any]] = found["result"]
    return float(result[0]["value"][1]) if result else None


async def _data(client: Client, path: str) -> Any:
    reply = await client.get(path)
    said = reply.json()
    if reply.status != 200 or said["status"] != "success":
        shown = json.dumps(said.get("error"))[:200]
        raise ShopError(f"answers {reply.status}: {shown}", where=client.base)
    return said["data"]
