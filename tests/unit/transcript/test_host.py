"""The transcript of a host: a look passes without a conversation, and says that it is one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.verification import Policy, Report, verify

Document = dict[str, Any]
Seal = Callable[[object], bytes]
Check = Callable[..., Report]


@pytest.fixture
def check(seal: Seal, pem: bytes) -> Check:
    def check(document: Document, *probes: str) -> Report:
        return verify(seal(document), pem, policy=Policy(probes=probes))

    return check


def test_a_look_passes_and_says_what_it_is(host_document: Document, check: Check) -> None:
    mandatory = [name for name, rule in judge.PROBES.items() if rule.mandatory_for("ssh")]
    report = check(host_document, *mandatory)
    assert report.ok, report.reasons
    assert "read-only" in report.verdict


def test_a_conversation_passes_and_is_no_look(talked_document: Document, check: Check) -> None:
    report = check(talked_document, *judge.WHEN_TALKED_TO)
    assert report.ok, report.reasons
    assert "read-only" not in report.verdict


def test_who_demands_the_conversation_is_not_content_with_a_look(
    host_document: Document, check: Check
) -> None:
    assert check(host_document, "scenario.commands").refused_by == "required"


def step(document: Document, name: str) -> Document:
    (found,) = (one for one in document["predicate"]["steps"] if one["name"] == name)
    return dict_of(found)


def dict_of(value: Any) -> Document:
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("name", [name for name in judge.STEPS["ssh"] if name != "scenario"])
def test_no_other_step_may_be_skipped(name: str, host_document: Document, check: Check) -> None:
    step(host_document, name)["status"] = "skipped"
    assert not check(host_document).ok


def test_a_conversation_that_failed_is_no_look(host_document: Document, check: Check) -> None:
    step(host_document, "scenario")["status"] = "failed"
    assert not check(host_document).ok


def test_a_run_that_failed_before_it_talked_is_no_look(
    host_document: Document, check: Check
) -> None:
    host_document["predicate"]["failure"] = {"step": "probe", "message": "x", "logTail": []}
    report = check(host_document)
    assert not report.ok
    assert "read-only" not in report.verdict


@pytest.mark.parametrize("target", ["local", "incus"])
def test_elsewhere_the_conversation_is_never_left_out(
    target: str, document: Document, guest_document: Document, check: Check
) -> None:
    whole = document if target == "local" else guest_document
    assert check(whole).ok
    step(whole, "scenario")["status"] = "skipped"
    whole["predicate"]["scenario"] = []
    probes = whole["predicate"]["probes"]
    whole["predicate"]["probes"] = [p for p in probes if p["name"] not in judge.WHEN_TALKED_TO]
    assert not check(whole).ok


def test_what_only_a_conversation_shows_is_in_no_look(
    host_document: Document, talked_document: Document, check: Check
) -> None:
    told = copy.deepcopy(host_document)
    told["predicate"]["scenario"] = talked_document["predicate"]["scenario"]
    assert "yet there is a conversation" in check(told).reasons[0]
    for probe in talked_document["predicate"]["probes"]:
        if probe["name"] in judge.WHEN_TALKED_TO:
            seen = copy.deepcopy(host_document)
            seen["predicate"]["probes"].append(probe)
            assert "yet there is a conversation" in check(seen).reasons[0]


@pytest.mark.parametrize("name", sorted(judge.WHEN_TALKED_TO))
def test_a_conversation_is_whole(name: str, talked_document: Document, check: Check) -> None:
    predicate = talked_document["predicate"]
    kept = [probe for probe in predicate["probes"] if probe["name"] != name]
    (gone,) = (probe for probe in predicate["probes"] if probe["name"] == name)
    predicate["probes"] = kept
    assert f"the mandatory probe {name} is missing" in " ".join(check(talked_document).reasons)
    predicate["probes"] = [*kept, {**gone, "evidence": {}}]
    assert f"the probe {name} does not hold" in " ".join(check(talked_document).reasons)


def seen(document: Document, name: str) -> Document:
    (found,) = (one for one in document["predicate"]["probes"] if one["name"] == name)
    return dict_of(found["evidence"])


HOST_CHANGES: dict[str, tuple[str, Callable[[Document], object], str]] = {
    "another version": (
        "host.system",
        lambda told: told["program"].update(version="9.9.9"),
        "control.ready: not the version that host.system found",
    ),
    "another domain": (
        "host.system",
        lambda told: told["instance"].update(domain="other.example"),
        "control.room: not of the instance",
    ),
    "another agent": (
        "host.system",
        lambda told: told["instance"]["agents"].pop(),
        "agents.health: not those of host.system",
    ),
    "an operator of another": (
        "host.system",
        lambda told: told["instance"].update(operators=["@bob:agency.example"]),
        "host.system: lacks the operator @alice:agency.example",
    ),
    "no firewall": (
        "units.state",
        lambda told: told.update(
            units=[unit for unit in told["units"] if unit["name"] != "nftables.service"]
        ),
        "units.state: lacks nftables.service",
    ),
}


@pytest.mark.parametrize("how", list(HOST_CHANGES))
def test_what_was_seen_is_of_the_host_that_was_found(
    how: str, talked_document: Document, check: Check
) -> None:
    name, change, reason = HOST_CHANGES[how]
    change(seen(talked_document, name))
    assert judge.PROBES[name].judge(seen(talked_document, name)).ok, "the probe alone still holds"
    assert reason in " ".join(check(talked_document).reasons)


def test_a_look_that_names_another_version_is_refused(
    host_document: Document, check: Check
) -> None:
    host_document["predicate"]["versions"]["agency"] = "9.9.9"
    assert "not the version of the agency" in " ".join(check(host_document).reasons)


HOST_SYSTEM = {
    "instance": {
        "name": "example",
        "domain": "agency.example",
        "operators": ["@alice:agency.example"],
        "agents": [{"name": "pm", "matrixId": "@agent-pm:agency.example"}],
    },
    "program": {"version": "0.1.0", "files": 480, "digest": "8d" * 32},
}
NIXOS = {
    "kind": "nixos",
    "path": "/nix/store/0c5b1m3x2v9d8f7g6h4j1k2l3n4p5q6r-nixos-system-agency-24.11.710050.62c4",
    "version": "24.11.710050.62c435d93bf0",
}


def judged(system: object) -> bool:
    seen = {"os": "NixOS 24.11 (Vicuna)", "kernel": "6.6.63", "system": system}
    evidence = {**copy.deepcopy(HOST_SYSTEM), **seen}
    return judge.PROBES["host.system"].judge(evidence).ok


def test_a_system_of_nixos_is_named_by_its_path() -> None:
    assert judged({**NIXOS, "revision": None})


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/run/current-system"},
        {"path": "/nix/store/short-nixos-system-x"},
        {"path": "/nix/store/0c5b1m3x2v9d8f7g6h4j1k2l3n4p5q6r-hello-2.12"},
        {"version": ""},
        {"kind": "debian"},
        {"kind": "arch"},
        {"path": None},
    ],
    ids=str,
)
def test_another_system_is_refused(change: Document) -> None:
    assert not judged({**NIXOS, **change})
