"""Agents as systemd and the kernel see them, beside what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agency import naming
from agency.spinup.remote import units
from agency.spinup.remote.machine import Machine, run
from agency.spinup.steps import Evidence

_PROCESSES = ("ps", "-e", "-ww", "-o", "pid=", "-o", "cgroup=")


async def running(machine: Machine, seen: Evidence) -> Evidence:
    """What agents answered, each with its unit's state and the pid of the unit's main process."""
    names = [str(agent["name"]) for agent in seen["agents"]]
    shown = await units.show(machine, map(naming.agent_unit, names))
    agents = []
    for agent in seen["agents"]:
        unit = shown[naming.agent_unit(agent["name"])]
        found = {"name": unit.name, "active": unit.active, "pid": unit.pid}
        agents.append({**agent, "unit": found})
    return {**seen, "agents": agents}


async def stopped(machine: Machine, seen: Evidence) -> Evidence:
    """What is left of agents, each with its unit's state and how many processes the unit has."""
    names = [str(agent["name"]) for agent in seen["agents"]]
    wanted = [naming.agent_unit(name) for name in names]
    shown = await units.show(machine, wanted)
    left = processes_in(await run(machine, *_PROCESSES), wanted)
    agents = []
    for agent in seen["agents"]:
        unit = shown[naming.agent_unit(agent["name"])]
        found = {"name": unit.name, "active": unit.active, "processes": left[unit.name]}
        agents.append({**agent, "unit": found})
    return {**seen, "agents": agents}


def processes_in(listed: bytes, names: Iterable[str]) -> dict[str, int]:
    """How many processes are in the control group of each unit, or below it."""
    counts = dict.fromkeys(names, 0)
    for line in listed.decode(errors="replace").splitlines():
        _, _, groups = line.strip().partition(" ")
        parts = re.split("[/,]", groups)
        for name in counts:
            counts[name] += name in parts
    return counts
