"""A spare agent of instance.yaml is a slot: declared like every other, and no worker."""

from __future__ import annotations

import re

from agency.control.agents.inventory import Inventory
from agency.control.config import ControlConfig
from agency.instance.documents import control_document, instance_document
from agency.instance.load import load_instance
from agency.spinup.examination import by_seniority


def test_a_slot_has_user_port_and_unit_and_is_no_agent(write, good) -> None:
    with_slot = re.sub(
        r"^agents:\n", "agents:\n  slot-1: {role: spare, spare: true}\n", good, flags=re.M
    )
    assert with_slot != good
    instance = load_instance(write(with_slot)).instance
    config = ControlConfig.model_validate(control_document(instance))
    assert {each.name: each.spare for each in config.agents}["slot-1"] is True
    declared = {each["name"]: each for each in instance_document(instance, "")["agentsResolved"]}
    assert declared["slot-1"]["unit"] == "agency-agent@slot-1.service"
    inventory = Inventory(config.agents)
    assert "slot-1" not in inventory
    slot = inventory.free_slot()
    assert slot is not None
    assert slot.port == declared["slot-1"]["port"]
    assert "slot-1" not in by_seniority(instance)


def test_without_one_nothing_is_told(write, good) -> None:
    told = control_document(load_instance(write(good)).instance)["agents"]
    assert all("spare" not in each for each in told)
