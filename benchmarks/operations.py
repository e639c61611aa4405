"""Looks while a change is under way, and changes of many agents at one time.

The control plane and the homeserver are real; the agents are stand-ins that need a set time to
become healthy (see `slow_control`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency import naming
from agency.children import ChildSpec
from agency.control.config import AgentEntry, Limits
from agency.files import write_atomically
from agency.spinup.targets.local.agency import CONTROL_SECRETS, LocalAgency
from agency.spinup.targets.local.ports import CONTROL
from agency.spinup.targets.local.supervisor import Service
from benchmarks.chat import Stopwatch, bench
from benchmarks.rows import Row, percentile

_LONG_S = 15.0
_ASKS = 60
_PAUSE_S = 0.1
_STARTS = 20
_HEALTH_S = 5.0
_MOST_S = 15.0


def _agents(agency: LocalAgency, count: int) -> tuple[AgentEntry, ...]:
    """So many agents, which one server stands in for."""
    port = next(iter(agency.control_config().agents)).port
    return tuple(
        AgentEntry(
            name=name,
            role="developer",
            matrix_id=naming.matrix_id(naming.agent_localpart(name), agency.instance.domain),
            port=port,
        )
        for name in (f"slow{number}" for number in range(count))
    )


@asynccontextmanager
async def _slow_control(agency: LocalAgency, count: int, delay_s: float) -> AsyncIterator[None]:
    """Describe the control plane in the place of the usual one, with `count` agents."""
    state = agency.run.path / f"slow-{count}"
    state.mkdir(mode=0o700)
    config = agency.control_config().model_copy(
        update={
            "agents": _agents(agency, count),
            "database_url": f"sqlite+aiosqlite:///{state}/control.db",
            "state_dir": state,
            "limits": Limits(agent_start_timeout_s=60),
        }
    )
    file = state / "control.json"
    write_atomically(file, config.model_dump_json().encode())
    _, descriptors = agency.handed_to_control()
    argv = (sys.executable, "-m", "benchmarks.slow_control", str(file), str(delay_s))
    spec = ChildSpec(
        name=CONTROL,
        argv=(*argv, *map(str, descriptors)),
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(state),
            "LANG": "C.UTF-8",
            "CREDENTIALS_DIRECTORY": str(agency.secrets.credentials(CONTROL_SECRETS)),
        },
        cwd=Path.cwd(),
        log_path=agency.run.logs / f"slow-{count}.log",
        pass_fds=descriptors,
    )

    async def is_ready() -> bool:
        try:
            async with agency.session.get(f"{agency.control_url}/ready") as answer:
                return answer.status == 200
        except OSError:
            return False

    await agency.supervisor.stop(CONTROL)
    await agency.supervisor.start(Service(spec, is_ready, ready_timeout_s=120))
    yield


async def _while_one_starts(watch: Stopwatch, control: str, other: str) -> Row:
    """Ask for pings, and the echo, while the start of an agent takes its time."""
    for room in (control, other) * 5:
        await watch.ask(room, "!agency ping")
    begun = time.perf_counter()
    starting = asyncio.ensure_future(watch.ask(control, "!agency agents start slow0"))
    await asyncio.sleep(0.5)
    ours: list[float] = []
    bare: list[float] = []
    while len(ours) < _ASKS and time.perf_counter() - begun < _LONG_S - 2:
        ours.append(await watch.ask(control, "!agency ping"))
        bare.append(await watch.ask(other, "!agency ping"))
        await asyncio.sleep(_PAUSE_S)
    if starting.done() or len(ours) < _ASKS // 3:
        raise RuntimeError(f"{len(ours)} pings, and the start had ended: {starting.done()}")
    took_s = await starting
    if took_s < _LONG_S:
        raise RuntimeError(f"the start took {took_s:.1f} s only")
    return Row(
        name="operations.ping_during_start",
        value=percentile(ours, 0.99) * 1000,
        unit="ms",
        baseline="bare echo appservice on the same Synapse, p99, while an agent starts (stand-in)",
        baseline_value=percentile(bare, 0.99) * 1000,
        limit=2.0,
        limit_on="ratio",
    )


async def _many_starts(watch: Stopwatch, control: str) -> Row:
    """Start one agent, then all the others at one time."""
    alone_s = await watch.ask(control, "!agency agents start slow0")
    begun = time.perf_counter()
    await asyncio.gather(
        *(watch.ask(control, f"!agency agents start slow{n}") for n in range(1, _STARTS + 1))
    )
    took_s = time.perf_counter() - begun
    if min(alone_s, took_s) < _HEALTH_S:
        raise RuntimeError(f"the starts took {alone_s:.1f} and {took_s:.1f} s only")
    return Row(
        name=f"operations.{_STARTS}_starts",
        value=took_s,
        unit="s",
        baseline=f"one start; each agent is healthy after {_HEALTH_S:g} s (stand-in)",
        baseline_value=alone_s,
        limit=_MOST_S,
    )


async def _measure() -> list[Row]:
    measured: list[Row] = []
    async with bench() as on:
        async with _slow_control(on.agency, 1, _LONG_S):
            measured.append(await _while_one_starts(on.watch, on.control, on.other))
        async with _slow_control(on.agency, _STARTS + 1, _HEALTH_S):
            measured.append(await _many_starts(on.watch, on.control))
    return measured


def rows() -> list[Row]:
    """Measure what overlaps, on one local agency."""
    return asyncio.run(_measure())
