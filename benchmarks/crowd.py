"""Fifty agents that work in one local agency, and have nothing to do: memory, time, processors.

Each has an ACP process, a tool gateway and an account in rooms, as in `benchmarks.working`; one
proxy serves all. The baselines are an agent without a program, and a command in the control room.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.models import pss_mb
from benchmarks.rows import Row, percentile
from benchmarks.working import bench

_AGENTS = tuple(f"a{number:02}" for number in range(1, 50))  # beside pm
_TASKS = 5
_IDLE_S = 20.0


def _busy_s(pids: list[int]) -> float:
    """Return the processor time that processes have used so far, in seconds."""
    told = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    ticks = sum(int(each[11]) + int(each[12]) for each in told)  # utime and stime, of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(place: Path) -> list[Row]:
    """Measure fifty idle agents, and one of them that is asked something."""
    async with bench(place, _AGENTS) as on:
        for agent in _AGENTS:
            await on.join(agent, place)
        proxy = pss_mb(on.agency.supervisor.children()["models"].pid)
        memory = proxy + sum(on.memory(agent) for agent in ("pm", *_AGENTS))
        plain = on.memory("plain")
        pids = list(on.agency.pids())
        before, begun = _busy_s(pids), time.perf_counter()
        await asyncio.sleep(_IDLE_S)
        share = (_busy_s(pids) - before) / (time.perf_counter() - begun)
        orders, tasks = [], []
        for _ in range(_TASKS):
            orders.append(await on.order("!agency ping"))
            tasks.append(await on.task())
    ping, count = percentile(orders, 0.5), 1 + len(_AGENTS)
    return [
        Row("crowd.agent.pss", memory / count, "MiB", "an agent without a program", plain, 190.0),
        Row("crowd.idle.processors", share, "processors", "one processor", 1.0, 1.0),
        Row("crowd.hello.p50", percentile(tasks, 0.5), "s", "a command in the room", ping, 3.0),
    ]


def rows() -> list[Row]:
    """Measure fifty agents."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        return asyncio.run(measure(Path(place)))
