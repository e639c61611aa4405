"""A lease on the real Incus: its machine is reached by its URL, and goes with the lease."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agency.clock import Clock
from agency.guests.images.image import Image, hold_image
from agency.guests.incus.daemon import connect_incus, is_running
from agency.guests.machines.janitor import Owner, Purpose, ours, reap
from agency.guests.machines.machine import Guest
from agency.machine.machine import MachineError
from agency.sandbox.lease import Bounds, Size, State
from agency.sandbox.machines import IncusMachines
from agency.sandbox.manager import Manager
from agency.sandbox.source import parse_source
from agency.sandbox.store import Leases

ROOT = Path(__file__).resolve().parents[3]
# The least that a guest of a few packages can serve.
SERVER = r"""
import os, socket
with socket.create_server(("127.0.0.1", 80)) as server:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
"""


async def web(guest: Guest, source: Path) -> int:
    """Stands in for the whole agency: what a lease does with its machine is the same."""
    assert (source / "pyproject.toml").exists()
    run = ("systemd-run", "--unit=web", "--service-type=notify")
    await guest.run(*run, "python3", "-I", "-c", SERVER)
    return 80


async def broken(guest: Guest, source: Path) -> int:
    await guest.run("systemctl", "start", "no-such.service")
    return 80


@pytest.fixture
def manager_for(place, small_recipe, tmp_path, monkeypatch):
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)

    @contextlib.asynccontextmanager
    async def hold(marker: str) -> AsyncIterator[Image]:
        async with hold_image(place.apart, small_recipe, marker=marker) as image:
            yield image

    def make(activate, now=None) -> Manager:
        state = place.state
        machines = IncusMachines(state, hold, activate)
        clock = Clock(wall=lambda: now[0]) if now else Clock()
        return Manager(Leases(tmp_path / "leases.db", Bounds()), machines, state, clock)

    return make


@pytest.mark.asyncio(loop_scope="module")
async def test_a_lease_from_its_url_to_its_end(manager_for, place) -> None:
    now = [1000.0]
    manager = manager_for(web, now)
    lease = await manager.up(parse_source(str(ROOT)), 100, Size(memory_mb=1024, cpus=1))
    assert lease.state is State.READY
    async with aiohttp.ClientSession() as session, session.get(lease.url) as answer:
        assert answer.status == 200
    async with connect_incus(place.environ) as client:
        (held,) = ours(await client.instances(), place.state)
        assert held.purpose is Purpose.LEASE
        assert held.instance.network_devices == ()
        assert await reap(client, place.state) == (), "the janitor of runs leaves leases alone"
    assert is_running(place.environ), "a lease needs its Incus"

    now[0] = 1100
    assert await manager.expire() == (lease.name,)
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session, session.get(lease.url):
            pass
    assert not is_running(place.environ)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_source_that_does_not_come_up_leaves_nothing(manager_for, place) -> None:
    manager = manager_for(broken)
    with pytest.raises(MachineError, match="no-such"):
        await manager.up(parse_source(str(ROOT)), 100, Size())
    assert manager.leases.all() == ()
    assert not is_running(place.environ)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_machine_whose_lease_is_gone_is_removed(manager_for, place) -> None:
    manager = manager_for(web)
    lease = await manager.up(parse_source(str(ROOT)), 100, Size())
    manager.leases.remove(lease.name)
    assert await manager.expire() == (Owner(place.state, lease.name).instance,)
    assert not is_running(place.environ)
