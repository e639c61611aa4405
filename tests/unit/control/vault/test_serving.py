"""The sockets at which agents redeem, as the running vault opens them: also for agents in slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vaulting import CANARY, Safe, wanted

from agency.clock import Clock
from agency.control.conditions import Conditions
from agency.control.runtimes.base import Endpoint
from agency.control.runtimes.handover import redeem_socket
from agency.control.service.vaulting import VaultService
from agency.control.vault.values import Waiting
from agency.protocols import RedemptionRefusedError, redeem
from agency.secrets import SecretValue

TOKENS = {"pm": "acp-token-of-pm", "helper": "acp-token-of-helper", "next": "acp-token-of-next"}


class Served:
    """A vault at work, whose agents run as told."""

    def __init__(self, safe: Safe, state: Path, clock: Clock) -> None:
        self.safe, self.state, self.slots = safe, state, {"helper": "slot-1"}
        runtime = SimpleNamespace(
            kind_of=lambda _name: "process",
            endpoint=lambda name: Endpoint("http://x", TOKENS[name], name),
        )
        config = SimpleNamespace(
            public_url="",
            listen_host="127.0.0.1",
            listen_port=1,
            state_dir=state,
            limits=SimpleNamespace(secret_check_s=60.0),
        )
        plane: Any = SimpleNamespace(
            config=config,
            clock=clock,
            runtime=runtime,
            acp=None,
            conditions=Conditions(clock),
            inventory=SimpleNamespace(slots=self.slots),
            running=lambda: SimpleNamespace(stand=lambda _rules: None),
        )
        lifecycle: Any = SimpleNamespace(agents={})
        self.service = VaultService(
            plane, lifecycle, safe.vault(), safe.leases(), Waiting(clock, 60.0), safe.speaker()
        )

    async def redeemed(self, agent: str, place: str) -> str:
        """Serve an agent, and redeem what it is offered at the socket of a place."""
        agents: Any = self.service.delivery.agents
        await agents.serve(agent)
        (offer,) = await self.service.leases.offer(agent)
        path = redeem_socket(self.state, place)
        value = await redeem(path, offer.lease, offer.token.reveal(), TOKENS[agent])
        return value.get_secret_value()


@pytest.fixture
async def served(safe: Safe, tmp_path: Path, clock: Clock) -> AsyncIterator[Served]:
    await safe.vault().put(wanted(), SecretValue(CANARY))
    for agent in TOKENS:
        await safe.vault().bind("github", agent, "@alice:x.org")
    made = Served(safe, tmp_path, clock)
    running = asyncio.create_task(made.service.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_agent_in_a_slot_redeems_where_its_unit_looks(served: Served) -> None:
    assert await served.redeemed("helper", "slot-1") == CANARY
    assert await served.redeemed("pm", "pm") == CANARY
    assert await served.redeemed("helper", "slot-1") == CANARY, "it is opened once"


async def test_a_slot_that_is_given_to_another_serves_that_one(served: Served) -> None:
    assert await served.redeemed("helper", "slot-1") == CANARY
    served.slots.clear()
    served.slots["next"] = "slot-1"
    assert await served.redeemed("next", "slot-1") == CANARY
    (offer,) = await served.service.leases.offer("helper")
    path = redeem_socket(served.state, "slot-1")
    with pytest.raises(RedemptionRefusedError):
        await redeem(path, offer.lease, offer.token.reveal(), TOKENS["helper"])
