"""A host with an agent in a container: what the control plane is told, and what it may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.control.config import ControlConfig

SLOT = {
    "role": "spare",
    "spare": True,
    "runtime": "docker",
    "program": {"model": "small", "budget": {"tokensPerDay": 900, "usdPerDay": 2}},
}
IMAGE_ID = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def host(
    new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path
) -> dict[str, Any]:
    instance = new_instance(
        "contained",
        services={"matrix": {"enable": True}},
        agents={
            "pm": {"role": "pm", "runtime": "docker"},
            "dev-two": {"role": "developer"},
            "slot-1": SLOT,
            "slot-2": {"role": "spare", "spare": True},
        },
        models={
            "providers": {
                "local": {"kind": "openai", "url": "http://127.0.0.1:11434", "key": False}
            },
            "offered": {"small": {"provider": "local", "price": {"input": 0, "output": 0}}},
        },
        docker={"image": "agency-agent:0.1.0", "imageId": IMAGE_ID, "pids": 99},
    )
    found: dict[str, Any] = evaluate(
        snapshot / "tests/nix/contained.nix", "--argstr", "instance", str(instance)
    )
    rendered = json.loads((instance / "generated/control.json").read_text())
    return found | {"rendered": rendered}


def test_it_evaluates(host: dict[str, Any]) -> None:
    assert host["failing"] == []
    assert host["docker"] is True


def test_the_control_plane_reads_the_runtime_of_each_agent(host: dict[str, Any]) -> None:
    config = ControlConfig.model_validate_json(host["control"])
    assert {agent.name: agent.runtime for agent in config.agents} == {
        "pm": "docker",
        "dev-two": None,
        "slot-1": "docker",
        "slot-2": None,
    }
    assert config.runtime == "systemd"
    assert config.docker is not None
    assert (config.docker.image_id, config.docker.pids) == (IMAGE_ID, 99)


def test_the_control_plane_reads_of_each_agent_what_was_rendered(host: dict[str, Any]) -> None:
    def by_name(document: dict[str, Any]) -> dict[str, Any]:
        return {agent["name"]: agent for agent in document["agents"]}

    assert by_name(json.loads(host["control"])) == by_name(host["rendered"])


def test_the_control_plane_reads_the_slots_for_agents_that_commands_make(
    host: dict[str, Any],
) -> None:
    config = ControlConfig.model_validate_json(host["control"])
    slots = {agent.name: agent.program for agent in config.agents if agent.spare}
    assert set(slots) == {"slot-1", "slot-2"}
    assert slots["slot-2"] is None
    assert slots["slot-1"] is not None
    assert slots["slot-1"].model == "small"
    account = json.loads(host["proxy"])["accounts"]["slot-1"]
    assert (account["slot"], account["tokensPerDay"]) == (True, 900)


def test_it_alone_may_use_the_engine(host: dict[str, Any]) -> None:
    groups = re.findall(r"^SupplementaryGroups=(.*)$", host["unit"], re.M)
    assert sorted(groups) == ["docker", "systemd-journal"]
    assert host["members"] == []


def test_without_the_option_it_may_not(report: dict[str, Any]) -> None:
    unit = report["agency"]["unitTexts"]["agency-control.service"]
    assert re.findall(r"^SupplementaryGroups=(.*)$", unit, re.M) == ["systemd-journal"]
    agents = json.loads(report["agency"]["control"])["agents"]
    assert agents
    assert not any("runtime" in each for each in agents)
