"""Every unit of the full machine has at its start whatever it names, for each engine of CI."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from unitwalk.checks import findings, unheard, unparsed
from unitwalk.units import machine

from agency.cli import cli

ENGINES = ("builtin", "woodpecker", "drone")
Facts = dict[str, Any]


@pytest.mark.parametrize(("host", "services"), [*((one, 80) for one in ENGINES), ("throwaway", 20)])
def test_every_path_has_a_maker_and_is_readable(
    hosts: dict[str, Facts], host: str, services: int
) -> None:
    walked = machine(hosts[host])
    assert len(walked.reached()) >= services
    assert findings(walked) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_every_port_asked_has_a_listener(hosts: dict[str, Facts], engine: str) -> None:
    assert sum(len(one["ports"]) for one in hosts[engine]["asks"]) > 15
    assert unheard(machine(hosts[engine])) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_every_command_of_ours_parses(hosts: dict[str, Facts], engine: str) -> None:
    commands = hosts[engine]["commands"]
    assert "gitlab-runner sandbox run" in commands
    assert len(commands) > 20
    assert unparsed(machine(hosts[engine]), cli) == []


def _registry_key_within_gitlab(facts: Facts) -> str:
    facts["opens"]["docker-registry.service"] = ["/var/gitlab/state/registry/auth.crt"]
    return "docker-registry may not pass /var/gitlab/state"


def _nobody_pulls_what_was_issued(facts: Facts) -> str:
    unit = facts["units"]["grafana.service"]
    unit["text"] = unit["text"].replace("agency-issued.service", "")
    return "agency-issued.service makes it, and is not both wanted and waited for"


def _no_such_credential(facts: Facts) -> str:
    unit = facts["units"]["k3s.service"]
    unit["text"] = unit["text"].replace("LoadCredential=", "LoadNothing=")
    return "/run/credentials/k3s.service/k3s-token: no such credential is loaded"


def _no_such_group(facts: Facts) -> str:
    facts["groups"].remove("docker")
    return "group docker: there is no such group"


@pytest.mark.parametrize(
    "spoil",
    [
        _registry_key_within_gitlab,
        _nobody_pulls_what_was_issued,
        _no_such_credential,
        _no_such_group,
    ],
)
def test_the_walk_finds_a_fault(hosts: dict[str, Facts], spoil: Callable[[Facts], str]) -> None:
    facts = copy.deepcopy(hosts["builtin"])
    expected = spoil(facts)
    assert any(expected in one for one in findings(machine(facts)))


def test_the_walk_finds_a_silent_port_and_a_wrong_command(hosts: dict[str, Facts]) -> None:
    facts = copy.deepcopy(hosts["builtin"])
    facts["listens"] = [one for one in facts["listens"] if one["unit"] != "gitlab-sidekiq.service"]
    facts["commands"]["agency-runner"] = ["recipes", "runner", "--no-such-flag"]
    assert unheard(machine(facts)) == ["prometheus asks 3807, where nothing listens"]
    # A group that does something by itself has options of its own.
    facts["commands"]["agency-agent-gateway@"] = ["agent", "gateway", "--no-such-way"]
    assert [one.split(": ")[1] for one in unparsed(machine(facts), cli)] == [
        "agency agent gateway --no-such-way",
        "agency recipes runner --no-such-flag",
    ]
