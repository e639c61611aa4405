"""What was seen is one agency: its agents, its people, its machine, all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency.quarantine import DESTINATIONS
from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate

Document = dict[str, Any]
Evidence = dict[str, Any]


def seen_in(document: Document) -> dict[str, Evidence]:
    return {probe["name"]: probe["evidence"] for probe in document["predicate"]["probes"]}


def reasons(document: Document) -> str:
    return "\n".join(judge.overall(Predicate.model_validate(document["predicate"]))[1])


def only_pm(seen: dict[str, Evidence]) -> None:
    for name in ("agents.health", "agents.stopped"):
        agents = seen[name]["agents"]
        agents[:] = [agent for agent in agents if agent["name"] == "pm"]


def firewall_unit_gone(seen: dict[str, Evidence]) -> None:
    units = seen["reboot.survived"]["units"]
    units[:] = [unit for unit in units if unit["name"] != "nftables.service"]


def another_definition(seen: dict[str, Evidence]) -> None:
    seen["activation.again"]["expected"]["running"].append("foo.service")
    for when in ("invocationsBefore", "invocationsAfter"):
        seen["activation.again"][when]["foo.service"] = "ab" * 16


def another_guest(seen: dict[str, Evidence]) -> None:
    for when in ("roomMembersBefore", "roomMembersAfter"):
        seen["reboot.survived"][when] = ["@nobody:agency.example"]


def another_domain(seen: dict[str, Evidence]) -> None:
    seen["login.oidc"].update(
        userId="@member:evil.example", homeserver="https://matrix.evil.example"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (only_pm, "agents.health: lacks the agent @agent-developer:agency.example"),
        (
            lambda seen: seen["agents.stopped"]["agents"][0].update(pid=4194303),
            "agents.stopped: not the process of pm in system.processes",
        ),
        (
            lambda seen: seen["system.processes"]["running"].pop(),
            "agents.stopped: not the process of developer",
        ),
        (
            lambda seen: seen["scenario.replay"].update(pidBefore=99, pidAfter=99),
            "scenario.replay: its process is not among",
        ),
        (
            lambda seen: seen["guest.packages"]["python"].update(agency="9.9"),
            "not the agency's version in guest.packages",
        ),
        (
            lambda seen: seen["guest.running"].update(image="00" * 32),
            "guest.running: not of the image",
        ),
        (
            lambda seen: seen["guest.running"].update(kind="virtual-machine"),
            "guest.running: not of the kind",
        ),
        (another_definition, "activation.again: not the units"),
        (firewall_unit_gone, "reboot.survived: lacks what is to run: nftables.service"),
        (
            lambda seen: seen["reboot.survived"].update(
                firewallBefore="e2" * 32, firewallAfter="e2" * 32
            ),
            "not the firewall that activation.drift left",
        ),
        (another_guest, "reboot.survived: lacks members"),
        (another_domain, "login.oidc: not an account of the domain"),
        (
            lambda seen: seen["reboot.survived"].update(userId="@mallory:elsewhere.org"),
            "userId is nobody whose commands",
        ),
        (
            lambda seen: seen["quarantine.outbound"].update(mode="network-namespace"),
            "not how a spin-up of this target is kept in: network-namespace",
        ),
        (
            lambda seen: seen["agents.health"]["agents"][0].pop("unit"),
            "nothing is said of the unit that runs pm",
        ),
        (
            lambda seen: seen["agents.stopped"]["agents"][1].pop("unit"),
            "nothing is said of the unit that runs developer",
        ),
    ],
)
def test_what_was_seen_in_a_guest_is_one_agency(
    change: Callable[[dict[str, Evidence]], object], reason: str, guest_document: Document
) -> None:
    assert reasons(guest_document) == ""
    seen = seen_in(guest_document)
    change(seen)
    for name, rule in judge.PROBES.items():
        assert name not in seen or rule.judge(seen[name]).ok, "each alone still holds"
    assert reason in reasons(guest_document)


def test_the_agents_of_a_host_are_run_by_its_systemd(talked_document: Document) -> None:
    assert reasons(talked_document) == ""
    del seen_in(talked_document)["agents.stopped"]["agents"][0]["unit"]
    assert "nothing is said of the unit that runs pm" in reasons(talked_document)


def test_the_agents_of_a_local_agency_have_no_units(document: Document) -> None:
    assert reasons(document) == ""
    seen = seen_in(document)
    assert "unit" not in seen["agents.health"]["agents"][0]
    seen["agents.stopped"]["agents"][0].update(pid=4194303)
    assert "not the process of pm" in reasons(document)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("agents.health", lambda unit: unit.update(pid=9), "not the pid that the agent says"),
        ("agents.health", lambda unit: unit.update(active="activating"), "unit.active"),
        ("agents.health", lambda unit: unit.update(name="ssh.service"), "not the unit of"),
        ("agents.health", lambda unit: unit.update(processes=0), "unit.processes"),
        ("agents.stopped", lambda unit: unit.update(active="active"), "unit.active"),
        ("agents.stopped", lambda unit: unit.update(active="failed"), "unit.active"),
        ("agents.stopped", lambda unit: unit.update(processes=1), "unit.processes"),
        ("agents.stopped", lambda unit: unit.update(name="ssh.service"), "not the unit of"),
    ],
)
def test_an_agent_is_what_systemd_runs(
    name: str, change: Callable[[Evidence], object], reason: str, guest_document: Document
) -> None:
    seen = seen_in(guest_document)[name]
    assert judge.PROBES[name].judge(seen).ok
    change(seen["agents"][0]["unit"])
    assert reason in judge.PROBES[name].judge(seen).reason


@pytest.mark.parametrize("left_out", DESTINATIONS)
def test_every_way_out_is_tried(left_out: str, evidence: dict[str, Evidence]) -> None:
    attempts = evidence["quarantine.outbound"]["attempts"]
    attempts[:] = [one for one in attempts if one["destination"] != left_out]
    verdict = judge.PROBES["quarantine.outbound"].judge(evidence["quarantine.outbound"])
    assert f"nobody tried {left_out}" in verdict.reason


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (
            "homeserver.versions",
            {"url": "https://matrix.org/_matrix/client/versions"},
            "not on loopback",
        ),
        ("homeserver.versions", {"url": "http://127.0.0.1.evil.example/"}, "not on loopback"),
        ("homeserver.process", {"argv0": "sleep", "argv": ["sleep", "1000"]}, "not the home"),
        ("homeserver.process", {"argv0": "sleep"}, "does not begin with argv0"),
    ],
)
def test_the_homeserver_is_ours(
    name: str, change: Evidence, reason: str, evidence: dict[str, Evidence]
) -> None:
    assert judge.PROBES[name].judge(evidence[name]).ok
    assert reason in judge.PROBES[name].judge({**evidence[name], **change}).reason


@pytest.mark.parametrize("name", ["control", "homeserver"])
def test_the_services_are_among_the_processes(name: str, evidence: dict[str, Evidence]) -> None:
    running = evidence["system.processes"]["running"]
    running[:] = [process for process in running if process["name"] != name]
    verdict = judge.PROBES["system.processes"].judge(evidence["system.processes"])
    assert verdict.reason == f"running.name: lacks {name}"
