"""Agents as systemd and the kernel see them, beside what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agency import naming
from agency.machine import Machine, run, units
from agency.spinup.record import Evidence

_PROCESSES = ("ps", "-e", "-ww", "-o", "pid=", "-o", "cgroup=")


async def with_units(machine: Machine, seen: Evidence) -> Evidence:
    """Add to each agent its `unit` as systemd shows it.

    That is its state, the `pid` of its main process (0 for none), and how many `processes` the
    kernel has in its control group.
    """
    wanted = [naming.agent_unit(agent["name"]) for agent in seen["agents"]]
    shown = await units.show(machine, wanted)
    counts = processes_in(await run(machine, *_PROCESSES), wanted)
    agents = []
    for agent, name in zip(seen["agents"], wanted, strict=True):
        unit = shown[name]
        found = {"name": name, "active": unit.active, "pid": unit.pid, "processes": counts[name]}
        agents.append({**agent, "unit": found})
    return {**seen, "agents": agents}


def processes_in(listed: bytes, names: Iterable[str]) -> dict[str, int]:
    """Count the processes in the control group of each unit, or below it."""
    counts = dict.fromkeys(names, 0)
    for line in listed.decode(errors="replace").splitlines():
        _, _, groups = line.strip().partition(" ")
        parts = re.split("[/,]", groups)
        for name in counts:
            counts[name] += name in parts
    return counts
