"""The inventory of agents: names, ports, slots and accounts, of the configured and the made."""

from __future__ import annotations

import pytest

from agency import naming
from agency.control.agents.inventory import Inventory, MatrixIds
from agency.control.config import AgentEntry
from agency.control.execution.result import RefusalError
from agency.control.store.agents import Creation, Deletion

BY = "@alice:x.org"


def entry(name: str, port: int, *, spare: bool = False) -> AgentEntry:
    return AgentEntry(name=name, role=name, matrix_id=f"@{name}:x", port=port, spare=spare)


def made(name: str, port: int, slot: str = "") -> Creation:
    return Creation(name, "writer", "developer", f"@agent-{name}:x", port, BY, {}, slot)


def of_all(inventory: Inventory) -> dict[str, tuple[str, str, int]]:
    return {name: (each.role, each.matrix_id, each.port) for name, each in inventory.items()}


def test_who_is_made_is_there_beside_the_configured_until_it_is_deleted() -> None:
    inventory = Inventory([entry("pm", 20001)], [made("first", 20002)])
    assert of_all(inventory) == {
        "pm": ("pm", "@pm:x", 20001),
        "first": ("writer", "@agent-first:x", 20002),
    }
    seen: list[set[str]] = []
    inventory.changed = lambda: seen.append(set(inventory))
    inventory.apply([made("second", 20003), Deletion("first")])
    assert seen == [{"pm", "second"}], "told once, of all of it"
    assert inventory.is_created("second")
    assert not inventory.is_created("pm")
    assert not inventory.is_created("first")
    assert (inventory.creation("second"), inventory.creation("pm")) == (made("second", 20003), None)
    inventory.apply([Deletion("nobody")])
    inventory.apply([])
    assert len(seen) == 1, "nothing changed"


def test_a_change_that_is_nothing_to_the_inventory_keeps_none_back() -> None:
    inventory = Inventory([entry("pm", 20001)])
    inventory.apply([Deletion("pm"), Deletion("nobody"), made("pm", 9), made("dev", 20002)])
    assert of_all(inventory)["pm"] == ("pm", "@pm:x", 20001)
    assert "dev" in inventory


def test_the_accounts_follow_the_agents() -> None:
    inventory = Inventory([entry("pm", 20001), entry("slot-1", 20002, spare=True)])
    accounts = MatrixIds(inventory)
    assert sorted(accounts) == ["@pm:x"], "a slot has none yet"
    inventory.apply([made("dev", 20003)])
    assert (sorted(accounts), len(accounts)) == (["@agent-dev:x", "@pm:x"], 2)
    assert "@agent-dev:x" in accounts
    inventory.apply([Deletion("dev")])
    assert (sorted(accounts), len(accounts)) == (["@pm:x"], 1)
    assert "@agent-dev:x" not in accounts


def test_who_runs_under_a_name_is_the_agent_in_the_slot_or_of_that_name() -> None:
    inventory = Inventory([entry("pm", 20001), entry("slot-1", 20002, spare=True)])
    assert inventory.occupant("pm").matrix_id == "@pm:x"
    assert inventory.occupant("slot-1").matrix_id == "@slot-1:x", "nobody is in it"
    inventory.apply([made("dev", 20002, "slot-1")])
    assert inventory.occupant("slot-1").name == "dev"
    assert inventory.occupant("slot-1").matrix_id == "@agent-dev:x"
    inventory.apply([Deletion("dev")])
    assert inventory.occupant("slot-1").name == "slot-1"
    with pytest.raises(KeyError):
        inventory.occupant("dev")


def test_the_ports_are_those_of_agents_and_each_is_found_by_a_slots_name_too() -> None:
    inventory = Inventory([entry("pm", 20001), entry("slot-1", 20002, spare=True)])
    inventory.apply([made("dev", 20003)])
    assert dict(inventory.ports) == {"pm": 20001, "dev": 20003}
    assert len(inventory.ports) == 2
    assert inventory.ports["slot-1"] == inventory.port_of("slot-1") == 20002
    with pytest.raises(KeyError):
        inventory.port_of("nobody")


def test_slots_are_taken_by_name_and_free_again_when_their_agent_is_deleted() -> None:
    slots = [entry(name, port, spare=True) for name, port in (("s-2", 20012), ("s-1", 20011))]
    inventory = Inventory([*slots, entry("pm", 20001)])
    assert [inventory.is_reserved(name) for name in ("s-1", "s-2", "pm")] == [True, True, False]
    assert list(inventory) == ["pm"], "a slot is no agent"
    first = inventory.free_slot()
    assert first is not None
    assert first.name == "s-1"
    inventory.apply([made("dev", 20011, "s-1"), made("free", 20005)])
    assert inventory.slots == {"dev": "s-1"}
    second = inventory.free_slot()
    assert second is not None
    assert second.name == "s-2"
    inventory.apply([made("qa", 20012, "s-2")])
    assert inventory.free_slot() is None
    inventory.apply([Deletion("dev")])
    assert inventory.free_slot() == first


def test_a_new_agent_gets_the_port_of_its_name_or_the_next_that_is_free() -> None:
    usual = naming.agent_port("helper")
    assert Inventory([]).free_port("helper") == usual
    taken = [entry("pm", usual), entry("slot-1", usual + 1, spare=True)]
    inventory = Inventory(taken, [made("dev", usual + 2)])
    assert inventory.free_port("helper") == usual + 3


def test_after_the_last_port_comes_the_first() -> None:
    usual, ports = naming.agent_port("helper"), naming.AGENT_PORTS
    above = [entry(f"a{port}", port) for port in range(usual, ports.stop)]
    assert Inventory(above).free_port("helper") == ports.start


def test_the_last_port_is_given_and_then_no_more() -> None:
    usual, ports = naming.agent_port("helper"), naming.AGENT_PORTS
    last = usual - 1 if usual > ports.start else ports.stop - 1
    inventory = Inventory([entry(f"a{port}", port) for port in ports if port != last])
    assert inventory.free_port("helper") == last
    inventory.apply([made("dev", last)])
    with pytest.raises(RefusalError, match="no port is left for another agent") as caught:
        inventory.free_port("helper")
    assert caught.value.hint == "delete one that is unused"
