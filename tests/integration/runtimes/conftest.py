"""What the tests of runtimes share: free ports, polling with a deadline, runtimes to test.

Guests get this folder alone: what else a bench needs is imported where it is used.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agency.children import processes_with_marker
from agency.clock import Clock
from agency.control.acp_client import AcpClient
from agency.control.runtimes.base import Runtime, StartRequest, State
from agency.control.runtimes.process import ProcessRuntime
from agency.control.runtimes.registry import RuntimePerAgent
from agency.ports import assign

if TYPE_CHECKING:
    from agent_containers import AgentsEngine

    from agency.control.runtimes.docker.runtime import DockerRuntime

Ports = dict[str, int]
Request = pytest.FixtureRequest
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Polls a condition until it holds, at most 20 seconds."""

    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + 20
        while not await condition():
            assert time.monotonic() < deadline, "did not happen in time"
            await asyncio.sleep(0.01)

    return until


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Finds a free loopback port."""
    return lambda: assign(("free",), {})["free"]


@pytest.fixture
def ports() -> Ports:
    """The port of every agent that was requested, by name."""
    return {}


@pytest.fixture
def request_for(free_port: Callable[[], int], ports: Ports) -> Callable[..., StartRequest]:
    """Makes a StartRequest, and gives that agent a free port."""

    def request_for(name: str, *, project: str | None = None) -> StartRequest:
        ports[name] = free_port()
        return StartRequest(name, role=name, project=project, trace="trace-1")

    return request_for


@pytest.fixture
async def acp() -> AsyncIterator[AcpClient]:
    async with AcpClient(timeout_s=20) as client:
        yield client


@dataclass(frozen=True)
class Bench:
    """A runtime under test, and what a test needs and the interface does not offer."""

    runtime: Runtime
    kill: Callable[[str], Awaitable[None]]  # end an agent behind the runtime's back, at once
    processes: Callable[[], tuple[str, ...]]  # handles of what runs, as the machine sees it
    close_ends_agents: bool
    counts_restarts: bool  # whether it starts agents again by itself, and says how often
    counts_cpu: bool  # whether this machine lets it count processor time
    clean: Callable[[], Awaitable[None]]  # leave nothing of a test to the next


async def _kill(runtime: Runtime, name: str) -> None:
    status = await runtime.status(name)
    assert status.handle is not None
    assert status.handle_name == "pid"
    os.kill(int(status.handle), signal.SIGKILL)


def _process_runtime(state_dir: Path, ports: Ports) -> ProcessRuntime:
    return ProcessRuntime(state_dir, clock=Clock(), port_of=ports.__getitem__, stop_timeout_s=10)


async def _process(tmp_path: Path, ports: Ports, _: Request) -> Bench:
    runtime = _process_runtime(tmp_path / "state", ports)

    async def kill(name: str) -> None:
        await _kill(runtime, name)

    def processes() -> tuple[str, ...]:
        return tuple(map(str, processes_with_marker(runtime.marker)))

    return Bench(runtime, kill, processes, True, False, True, runtime.close)


async def _per_agent(tmp_path: Path, ports: Ports, _: Request) -> Bench:
    """Two runtimes behind one: `developer` is set to the second, all others run in the first."""
    one, two = (_process_runtime(tmp_path / name, ports) for name in ("one", "two"))
    runtime = RuntimePerAgent({"one": one, "two": two}, {"developer": "two"}, default="one")

    async def kill(name: str) -> None:
        await _kill(runtime, name)

    def processes() -> tuple[str, ...]:
        markers = (one.marker, two.marker)
        return tuple(str(pid) for marker in markers for pid in processes_with_marker(marker))

    return Bench(runtime, kill, processes, True, False, True, runtime.close)


async def _systemd(_: Path, ports: Ports, __: Request) -> Bench:
    """Needs a machine with the agents' unit and users: see tests/integration/guest."""
    from agency.control.runtimes.systemd import SystemdRuntime

    directory = Path("/run/agency-control/agents")
    runtime = SystemdRuntime(directory, port_of=ports.__getitem__)

    async def kill(name: str) -> None:
        await _kill(runtime, name)

    async def clean() -> None:
        await runtime.close()
        sweeper = SystemdRuntime(directory, port_of=ports.__getitem__)
        for status in await sweeper.list():
            await sweeper.stop(status.name)
            (directory / f"{status.name}.json").unlink()
        await sweeper.close()

    return Bench(runtime, kill, _units_of_agents, False, True, _cgroups_count_cpu(), clean)


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentsEngine]:
    """A real Docker Engine with the agents' image."""
    from agent_containers import agents_engine

    with agents_engine(tmp_path_factory.mktemp("agents")) as engine:
        yield engine


@pytest.fixture
async def make_contained(
    containers: AgentsEngine, tmp_path: Path, ports: dict[str, int]
) -> AsyncIterator[Callable[..., DockerRuntime]]:
    """Makes runtimes on one directory; removes their containers at the end."""
    made: list[DockerRuntime] = []

    def make(**options: object) -> DockerRuntime:
        made.append(containers.runtime(tmp_path, ports.__getitem__, **options))
        return made[-1]

    yield make
    for runtime in made:
        await runtime.close()
    await asyncio.to_thread(containers.sweep)


async def _docker(tmp_path: Path, ports: Ports, request: Request) -> Bench:
    engine: AgentsEngine = request.getfixturevalue("containers")
    runtime: DockerRuntime = engine.runtime(tmp_path, ports.__getitem__)

    async def kill(name: str) -> None:
        handle = (await runtime.status(name)).handle
        assert handle is not None
        await asyncio.to_thread(engine.cli, "kill", handle)

    async def clean() -> None:
        await runtime.close()
        await asyncio.to_thread(engine.sweep)

    return Bench(runtime, kill, engine.running, False, False, engine.counts_cpu, clean)


def _cgroups_count_cpu() -> bool:
    """Whether there is a hierarchy in which systemd could count; some containers are given none."""
    root = Path("/sys/fs/cgroup")
    return any((root / file).exists() for file in ("cgroup.controllers", "cpuacct/cpuacct.usage"))


def _units_of_agents() -> tuple[str, ...]:
    found = []
    for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            text = cgroup.read_text()
        except OSError:  # it ended meanwhile
            continue
        if "/agency-agent@" in text:
            found.append(int(cgroup.parent.name))
    return tuple(map(str, sorted(found)))


BENCHES = {
    "process": _process,
    "per-agent": _per_agent,
    "systemd": _systemd,
    "docker": _docker,
}
MARKS = {"docker": [pytest.mark.docker]}
WANTED = os.environ.get("AGENCY_TEST_RUNTIMES", "docker,process,per-agent").split(",")


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in sorted(WANTED)])
async def bench(request: Request, tmp_path: Path, ports: Ports) -> AsyncIterator[Bench]:
    """Every runtime in turn; all of them pass the same tests."""
    bench = await BENCHES[request.param](tmp_path, ports, request)
    yield bench
    await bench.clean()


@pytest.fixture
def healthy() -> Callable[[Runtime, str], Awaitable[None]]:
    """Waits until an agent of a runtime is healthy.

    By a connection that it closes itself: one that the agent's end closes lingers on the agent's
    port, and then there is a moment of the next start in which somebody may get the port.
    """

    async def healthy(runtime: Runtime, name: str) -> None:
        async def still_running() -> bool:
            return (await runtime.status(name)).state is State.RUNNING

        endpoint = runtime.endpoint(name)
        assert endpoint is not None
        async with AcpClient(timeout_s=20) as own:
            await own.wait_healthy(endpoint, "trace-test", 30, still_running)

    return healthy
