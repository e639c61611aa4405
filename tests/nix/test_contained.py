"""A host with an agent in a container: what the control plane is told, and what it may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.control.config import ControlConfig

IMAGE_ID = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def host(
    new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path
) -> dict[str, Any]:
    instance = new_instance(
        "contained",
        services={"matrix": {"enable": True}},
        agents={"pm": {"role": "pm", "runtime": "docker"}, "dev-two": {"role": "developer"}},
        docker={"image": "agency-agent:0.1.0", "imageId": IMAGE_ID, "pids": 99},
    )
    found: dict[str, Any] = evaluate(
        snapshot / "tests/nix/contained.nix", "--argstr", "instance", str(instance)
    )
    return found


def test_it_evaluates(host: dict[str, Any]) -> None:
    assert host["failing"] == []
    assert host["docker"] is True


def test_the_control_plane_reads_the_runtime_of_each_agent(host: dict[str, Any]) -> None:
    config = ControlConfig.model_validate_json(host["control"])
    assert {agent.name: agent.runtime for agent in config.agents} == {
        "pm": "docker",
        "dev-two": None,
    }
    assert config.runtime == "systemd"
    assert config.docker is not None
    assert (config.docker.image_id, config.docker.pids) == (IMAGE_ID, 99)


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
