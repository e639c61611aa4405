"""An agent in a slot is its slot for the runtime, and itself for everybody else."""

from __future__ import annotations

import json

import pytest
from herd import Herd

from agency.control.agents.inventory import Inventory
from agency.control.config import AgentEntry
from agency.control.runtimes.base import StartRequest, State
from agency.control.runtimes.handover import agent_config
from agency.control.runtimes.slots import SlottedRuntime
from agency.control.store.agents import Creation, Deletion


def entry(name: str, port: int, *, spare: bool = False) -> AgentEntry:
    return AgentEntry(name=name, role="r", matrix_id=f"@{name}:x", port=port, spare=spare)


@pytest.fixture
def inventory() -> Inventory:
    made = Inventory([entry("pm", 20001), entry("slot-1", 20002, spare=True)])
    made.apply([Creation("helper", "dev", "dev", "@h:x", 20002, "@a:x", {}, "slot-1")])
    return made


async def test_each_call_reaches_the_slot_and_names_the_agent(inventory: Inventory) -> None:
    herd = Herd()
    runtime = SlottedRuntime(herd, lambda: inventory.slots)
    started = await runtime.start(StartRequest("helper", "dev", None, "t-1"))
    assert started.name == "helper"
    assert [*herd.running] == ["slot-1"]
    endpoint = runtime.endpoint("helper")
    assert endpoint is not None
    assert endpoint.agent == "helper", "its process knows its own name"
    config = json.loads(agent_config(herd.running["slot-1"][0], 20002))
    assert config["name"] == "helper", "by which it takes its Gosuto"
    await runtime.start(StartRequest("pm", "pm", None, "t-1"))
    assert [each.name for each in await runtime.list()] == ["helper", "pm"]
    assert (await runtime.restart(StartRequest("helper", "dev", None, "t-2"))).name == "helper"
    assert (await runtime.stop("helper")).name == "helper"
    assert [*herd.running] == ["pm"]
    assert (await runtime.status("helper")).state is State.STOPPED


def test_a_slot_is_no_agent_and_is_taken_once(inventory: Inventory) -> None:
    assert sorted(inventory) == ["helper", "pm"]
    assert inventory.free_slot() is None
    assert inventory.ports["slot-1"] == 20002, "the runtime asks by the slot's name"
    inventory.apply([Deletion("helper")])
    free = inventory.free_slot()
    assert free is not None
    assert free.name == "slot-1"
    with pytest.raises(KeyError):
        inventory.ports["helper"]
