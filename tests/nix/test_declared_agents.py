"""A host whose agents have the limits, ways out and features that their instance says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PM = {
    "role": "pm",
    "fullName": "Petra Müller",
    "email": "petra@example.org",
    "limits": {"memoryMib": 1536, "cpus": 1.5, "tasks": 300},
    "egress": [{"to": "192.0.2.0/24"}, {"to": "2001:db8::1", "port": 993}],
    "workspace": {"enable": True, "remote": "https://git.example.org/team/notes.git"},
    "browser": {"enable": True, "origins": ["https://docs.example.org"]},
    "taskLoop": {
        "enable": True,
        "runAt": "*:0/5",
        "maxTasks": 2,
        "issues": {
            "kind": "gitea",
            "url": "https://git.example.org/",
            "projects": ["team/notes"],
        },
    },
    "codingAgent": {"enable": True, "reviews": [["make", "test"]]},
}


@pytest.fixture(scope="module")
def host(
    new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path
) -> dict[str, Any]:
    instance = new_instance(
        "declared",
        services={"matrix": {"enable": True}},
        agents={"pm": PM, "dev-two": {"role": "developer"}},
    )
    found: dict[str, Any] = evaluate(
        snapshot / "tests/nix/declared.nix", "--argstr", "instance", str(instance)
    )
    return found


def test_it_evaluates(host: dict[str, Any]) -> None:
    assert host["failing"] == []


def test_its_limits_are_those_of_its_slice(host: dict[str, Any]) -> None:
    pm, other = host["slices"]["pm"], host["slices"]["dev-two"]
    assert (pm["MemoryMax"], pm["CPUQuota"], pm["TasksMax"]) == ("1536M", "150%", 300)
    assert (other["MemoryMax"], other["CPUQuota"], other["TasksMax"]) == ("1G", "100%", 256)


def test_it_reaches_what_the_instance_says_and_another_nothing(host: dict[str, Any]) -> None:
    assert host["egress"] == {
        "pm": [
            {"to": "192.0.2.0/24", "protocol": "tcp", "port": 443},
            {"to": "2001:db8::1", "protocol": "tcp", "port": 993},
        ],
        "dev-two": [],
    }


def test_its_workspace_has_its_identity_and_its_remote(host: dict[str, Any]) -> None:
    (agent,) = host["reconciler"]  # of the other there is none
    assert (agent["name"], agent["fullName"], agent["email"], agent["remote"]) == (
        *("pm", "Petra Müller", "petra@example.org"),
        "https://git.example.org/team/notes.git",
    )


def test_its_programs_read_what_the_instance_says(host: dict[str, Any]) -> None:
    told = host["settings"]["pm"]
    assert told["browser"]["origins"] == ["https://docs.example.org"]
    assert (told["taskLoop"]["maxTasks"], told["taskLoop"]["maxErrors"]) == (2, 3)
    assert told["codingAgent"]["reviews"] == [["make", "test"]]
    assert "OnCalendar=*:0/5" in host["timer"]
    assert "browser" not in host["settings"]["dev-two"]
    units = set(host["units"])
    assert "agency-agent-browser@pm.service" in units
    assert "agency-agent-browser@dev-two.service" not in units


def test_its_issues_are_read_with_a_secret_that_it_never_sees(host: dict[str, Any]) -> None:
    assert "LoadCredential=forge-token:/run/secrets/agent-pm-issues-token" in host["collect"]
    assert "User=agent-pm" not in host["collect"]
    assert set(host["consumers"]) == {"agency-collect-pm.service"}
    assert host["collected"] == {
        "kind": "gitea",
        "url": "https://git.example.org",
        "projects": ["team/notes"],
        "label": "agent:{agent}",
    }


def test_a_host_may_say_otherwise(host: dict[str, Any]) -> None:
    told = host["otherwise"]
    assert (told["memoryMax"], told["cpuQuota"], told["browser"]) == ("3G", "150%", False)


def test_a_task_loop_that_nothing_works_for_is_told_until_a_command_does(
    host: dict[str, Any],
) -> None:
    (told,) = host["warnings"]
    assert told.startswith("agency.agents.pm: nothing does the tasks of its task loop")
    assert "Set agency.agents.pm.taskLoop.command" in told
    assert host["otherwise"]["warnings"] == []
