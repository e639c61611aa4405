"""End of a server: it ends when it is asked to, whatever fails at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gateway_desk import until

from agency.agent.gateway.servers.acceptance import Acceptances
from agency.agent.gateway.servers.running import Pace, Server
from agency.agent.gateway.servers.stdio import Said, Streams
from agency.clock import Clock


@pytest.mark.parametrize("swallows", [True, False])
async def test_a_cancellation_that_is_lost_in_a_fault_ends_it_all_the_same(
    tmp_path: Path, swallows: bool
) -> None:
    """anyio's groups do that, when a connection fails as they are cancelled."""
    begun = 0

    @asynccontextmanager
    async def talk(_: Said) -> AsyncIterator[Streams]:
        nonlocal begun
        begun += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if not swallows or begun > 1:
                raise
        raise OSError(111, "Connection refused")
        yield

    server = Server(
        "web", "spec", talk, Acceptances(tmp_path / "accepted.json"), Clock(),
        lambda *_: None, str, pace=Pace(first_pause_s=0.01),
    )  # fmt: skip
    server.start()
    await until(lambda: begun)
    async with asyncio.timeout(5):
        await server.stop()
    await asyncio.sleep(0.05)
    assert begun == 1
