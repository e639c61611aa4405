"""Large inventories: a pass of the reconciler, and the first page of `agents list`.

Store and operations are real; runtime and agents are simulated, in this process.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.agents.inventory import Inventory
from agency.control.agents.reconciler import Reconciler
from agency.control.commands import GRAMMAR, Services, looks_like_command, parse
from agency.control.commands.registry import build_handlers
from agency.control.conditions import Conditions
from agency.control.config import AgentEntry, Limits
from agency.control.execution.classify import Rules
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import Invocation
from agency.control.operations import Operations
from agency.control.policy import People, Policy
from agency.control.rooms.speaking import Speaker
from agency.control.runtimes.base import Endpoint, RuntimeStatus, StartRequest, State, Usage
from agency.control.service.targets import AgentTargets
from agency.control.store import agents, audit, schema
from agency.control.store.agents import AgentRecord
from agency.control.wish import Desired, Wish
from agency.protocols import AgentStatus, Health, Status
from agency.secrets import SecretValue
from agency.store import Database, migrate, open_database
from benchmarks.rows import Row

_AGENTS, _LISTED = 1_000, 10_000
_PASSES = 5
_STARTED = "2026-01-01T00:00:00.000Z"


class Simulated:
    """Runtime and ACP of agents that all run, as they were asked to."""

    def kind_of(self, _name: str) -> str:
        """Return the kind of every agent."""
        return "simulated"

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Leave an agent running."""
        return await self.status(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        """Leave an agent running."""
        return await self.status(name)

    async def remove(self, name: str) -> None:
        """Stop an agent; nothing is kept of it."""
        await self.stop(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Leave an agent running."""
        return await self.status(request.name)

    async def status(self, name: str) -> RuntimeStatus:
        """Say that an agent runs."""
        return RuntimeStatus(name, State.RUNNING, "1", _STARTED)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List none."""
        return ()

    async def usage(self, _name: str) -> Usage:
        """Count nothing."""
        return Usage()

    async def log_tail(self, _name: str, _lines: int) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def secrets(self) -> tuple[SecretValue, ...]:
        """Hold none."""
        return ()

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an address that only this class knows."""
        return Endpoint("http://simulated", "token", name)

    async def close(self) -> None:
        """Hold nothing."""


class Answers:
    """ACP of simulated agents."""

    async def wait_healthy(
        self,
        endpoint: Endpoint,
        trace: str,  # noqa: ARG002 - the client's signature
        timeout: float,  # noqa: ASYNC109, ARG002 - the client's signature
        still_running: Callable[[], Awaitable[bool]],  # noqa: ARG002 - the client's signature
    ) -> Health:
        """Say that an agent is healthy."""
        return Health(status="ok", agent=endpoint.agent or "")

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        """Say that an agent is as wished."""
        return Status(
            agent=endpoint.agent or "",
            role="developer",
            version="1",
            pid=1,
            project=None,
            started_at=_STARTED,
            uptime_s=1.0,
            trace=trace,
        )

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        """Say the same, and that nothing is held."""
        told = await self.status(endpoint, trace)
        return AgentStatus(
            **told.model_dump(),
            incarnation="run-1",
            config_sha256=None,
            secrets=(),
            mcp_servers=(),
            tasks=(),
        )


@asynccontextmanager
async def _store(count: int) -> AsyncIterator[tuple[Database, Inventory]]:
    """Open a store with so many agents, all of which are to run."""
    names = [f"agent-{number:05}" for number in range(count)]
    entries = [
        AgentEntry(name=name, role="developer", matrix_id=f"@{name}:x.org", port=20000)
        for name in names
    ]

    def fill(connection: Connection) -> None:
        audit.open_log(connection, "bench", Clock())
        agents.synchronise(connection, names, 1)
        for name in names:
            agents.set_wish(connection, name, Wish(Desired.RUNNING), 1)
            change = agents.InventoryChange(name, None, None, "running", "1")
            agents.apply(connection, change, 1)

    with tempfile.TemporaryDirectory(prefix="agency-bench-") as place:
        database = open_database(f"sqlite+aiosqlite:///{Path(place)}/control.db")
        try:
            await migrate(database, schema.SCHEMA)
            await database.write(fill)
            yield database, Inventory(entries)
        finally:
            await database.close()


def _lifecycle(database: Database, inventory: Inventory) -> Lifecycle:
    async def records() -> Mapping[str, AgentRecord]:
        return {each.name: each for each in await database.read(agents.records)}

    async def some(names: Collection[str]) -> Mapping[str, AgentRecord]:
        return await database.read(lambda c: agents.records_of(c, names))

    return Lifecycle(inventory, Simulated(), Answers(), Limits(), records, read=some)


def _reconciler(database: Database, lifecycle: Lifecycle) -> Reconciler:
    clock = Clock()
    policy = Policy(People(frozenset({"@alice:x.org"})))
    operations = Operations(
        database=database,
        clock=clock,
        rules=Rules("!r:x.org", policy, "@b:x.org", frozenset(), "x.org", 600, looks_like_command),
        grammar=GRAMMAR,
        handler=lambda command: build_handlers(services)[command.name],
        targets=AgentTargets(lifecycle),
        max_command_bytes=4096,
        max_outbox=1000,
        max_target_queue=20,
        wake=asyncio.Event(),
        say=lambda _message: None,
    )
    services = Services(clock, database, lifecycle, GRAMMAR, Conditions(clock))
    return Reconciler(
        speaker=Speaker(
            database=database,
            clock=clock,
            room_id=lambda: "!r:x.org",
            as_user="@b:x.org",
            new_trace=lambda: "t-bench",
            say=lambda _message: None,
            max_outbox=1000,
        ),
        lifecycle=lifecycle,
        operations=operations,
        grammar=GRAMMAR,
        conditions=Conditions(clock),
    )


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the median of the seconds that `work` takes; the first time does not count."""
    await work()
    took: list[float] = []
    for _ in range(_PASSES):
        begun = time.perf_counter()
        await work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def _pass() -> Row:
    async with _store(_AGENTS) as (database, inventory):
        lifecycle = _lifecycle(database, inventory)
        watch = _reconciler(database, lifecycle)
        bare_s = await _timed(lambda: database.read(agents.commanded))
        return Row(
            name=f"inventory.reconcile_{_AGENTS}",
            value=await _timed(watch.look),
            unit="s",
            baseline="a bare read of these agents from the store",
            baseline_value=bare_s,
            limit=1.0,
        )


async def _list() -> Row:
    async with _store(_LISTED) as (database, inventory):
        clock, lifecycle = Clock(), _lifecycle(database, inventory)
        services = Services(clock, database, lifecycle, GRAMMAR, Conditions(clock))
        invocation = Invocation(parse("!agency agents list"), "@alice:x.org", "t-bench", 0)
        run = build_handlers(services)["agents list"]
        names = sorted(inventory)[:50]
        bare_s = await _timed(lambda: database.read(lambda c: agents.records_of(c, names)))
        return Row(
            name=f"inventory.first_page_of_{_LISTED}",
            value=await _timed(lambda: run(invocation)) * 1000,
            unit="ms",
            baseline="a bare read of that page from the store",
            baseline_value=bare_s * 1000,
            limit=100.0,
        )


async def _measure() -> list[Row]:
    return [await _pass(), await _list()]


def rows() -> list[Row]:
    """Measure both."""
    return asyncio.run(_measure())
