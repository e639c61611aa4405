"""Evidence of activations: all that the definitions ask for, as it is on the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.canonical import canonical_json, sha256_hex
from agency.transcript.rules.v1.activation import MAX_RESTARTS
from agency.transcript.rules.v1.services import ALWAYS_ENDING, ALWAYS_RUNNING
from agency.transcript.rules.v2.judge import PROBES

Evidence = dict[str, Any]
# Definitions came to start it after these rules were frozen. Claims of the suite need it to listen.
SINCE = {"agency-control.socket"}
START = Path(__file__).resolve().parents[3] / "modules" / "portable" / "start.json"


def reason(name: str, evidence: dict[str, Evidence]) -> str:
    """Why it does not hold; empty when it holds."""
    return PROBES[name].judge(evidence[name]).reason


def test_what_every_machine_runs_is_what_the_definitions_start() -> None:
    start = set(json.loads(START.read_text())["units"])
    # Where sops-nix puts secrets in place, this unit is not there.
    assert {*ALWAYS_RUNNING, *ALWAYS_ENDING} == start - {"agency-secrets.service"} - SINCE
    assert start >= SINCE


@pytest.mark.parametrize("which", ["activation.first", "activation.again"])
@pytest.mark.parametrize("name", [*ALWAYS_RUNNING, *ALWAYS_ENDING])
def test_no_unit_may_be_left_out_of_what_is_expected(
    which: str, name: str, evidence: dict[str, Evidence]
) -> None:
    expected = evidence[which]["expected"]
    for names in expected.values():
        if name in names:
            names.remove(name)
            names.append("foo.service")
    assert name in reason(which, evidence)


@pytest.mark.parametrize("name", ALWAYS_RUNNING)
@pytest.mark.parametrize(
    "change",
    [
        lambda units, at: units[at].update(active="inactive", sub="dead"),
        lambda units, at: units.pop(at),
    ],
    ids=["inactive", "not there"],
)
def test_what_is_to_run_is_active(
    name: str, change: Callable[[list[Evidence], int], object], evidence: dict[str, Evidence]
) -> None:
    units = evidence["activation.first"]["units"]
    change(units, next(at for at, unit in enumerate(units) if unit["name"] == name))
    assert reason("activation.first", evidence).endswith(f"not active: {name}")


def test_what_ends_may_be_inactive_or_not(evidence: dict[str, Evidence]) -> None:
    ended = [u for u in evidence["activation.first"]["units"] if u["name"] in ALWAYS_ENDING]
    assert [unit["active"] for unit in ended] == ["inactive"]
    ended[0].update(active="active", sub="exited")
    assert reason("activation.first", evidence) == ""


@pytest.mark.parametrize("which", ["activation.first", "activation.again"])
def test_files_are_as_the_definitions_have_them(which: str, evidence: dict[str, Evidence]) -> None:
    assert reason(which, evidence) == ""
    evidence[which]["digests"]["etc/agency/control.json"] = "00" * 32
    assert "not those of the definitions" in reason(which, evidence)


@pytest.mark.parametrize(
    "path", ["etc/agency/control.json", "etc/systemd/system/agency-control.service"]
)
@pytest.mark.parametrize("which", ["activation.first", "activation.again"])
def test_digests_of_other_files_alone_say_nothing(
    which: str, path: str, evidence: dict[str, Evidence]
) -> None:
    seen = evidence[which]
    del seen["digests"][path]
    seen["defined"] = sha256_hex(canonical_json(seen["digests"]))
    assert reason(which, evidence) == f"digests: lacks {path}"


@pytest.mark.parametrize("name", ALWAYS_RUNNING)
def test_a_unit_without_an_invocation_may_have_been_started_anew(
    name: str, evidence: dict[str, Evidence]
) -> None:
    for when in ("invocationsBefore", "invocationsAfter"):
        del evidence["activation.again"][when][name]
    assert reason("activation.again", evidence) == f"invocationsBefore: lacks {name}"


def test_one_drift_three_times_is_one(evidence: dict[str, Evidence]) -> None:
    drift = evidence["activation.drift"]
    first, second, third = drift["planted"]
    drift["planted"] = [first] * 3
    assert "nobody changed a unit, a firewall" in reason("activation.drift", evidence)
    drift["planted"] = [first, second, third, third]
    assert "one comes twice" in reason("activation.drift", evidence)
    drift["planted"] = [first, second, third, {**third, "what": "firewall of another table"}]
    assert "less than what was planted" in reason("activation.drift", evidence)
    drift["foundByCheck"] = 4
    assert reason("activation.drift", evidence) == ""


def test_a_unit_that_is_started_again_and_again_does_not_run(
    evidence: dict[str, Evidence],
) -> None:
    which = "reboot.survived"
    unit = evidence[which]["units"][0]
    unit["restarts"] = MAX_RESTARTS
    assert reason(which, evidence) == ""
    unit["restarts"] = MAX_RESTARTS + 1
    assert "restarts" in reason(which, evidence)


@pytest.mark.parametrize("name", ["agency-control.service", "matrix-synapse.service"])
def test_there_is_no_agency_without_these(name: str, evidence: dict[str, Evidence]) -> None:
    units = evidence["units.state"]["units"]
    units[:] = [unit for unit in units if unit["name"] != name]
    assert reason("units.state", evidence) == f"units.name: lacks {name}"


def test_the_firewall_is_there_after_the_boot(evidence: dict[str, Evidence]) -> None:
    evidence["reboot.survived"]["firewallAfter"] = "absent"
    assert "firewallAfter" in reason("reboot.survived", evidence)
    evidence["reboot.survived"]["firewallAfter"] = "e2" * 32
    assert "not the rules from before" in reason("reboot.survived", evidence)
