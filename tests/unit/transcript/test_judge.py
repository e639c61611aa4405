"""The result is what the facts allow, whatever the transcript says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate

Document = dict[str, Any]


def predicate(document: Document) -> Predicate:
    return Predicate.model_validate(document["predicate"])


def result_of(document: Document) -> tuple[str, str]:
    result, reasons = judge.overall(predicate(document))
    return result, "\n".join(reasons)


def probe_of(document: Document, name: str) -> Document:
    found: Document = next(p for p in document["predicate"]["probes"] if p["name"] == name)
    return found


def test_good_facts_pass(document: Document) -> None:
    assert judge.overall(predicate(document)) == ("PASSED", ())
    assert list(judge.claims(predicate(document))) == []


@pytest.mark.parametrize("said", ["PASSED", "FAILED"])
def test_what_it_says_of_itself_changes_nothing(said: str, document: Document) -> None:
    document["predicate"]["result"] = said
    assert result_of(document)[0] == "PASSED"


def test_a_missing_mandatory_probe_fails(probe: str, gate: str | None, document: Document) -> None:
    probes = document["predicate"]["probes"]
    probes.remove(probe_of(document, probe))
    result, reasons = result_of(document)
    if gate is not None:
        assert result == "PASSED"
        assert f"{probe} is missing" in judge.gate(predicate(document), gate).reason
    else:
        assert result == "FAILED"
        assert f"{probe} is missing" in reasons


def test_a_probe_that_is_there_twice_fails(probe: str, document: Document) -> None:
    document["predicate"]["probes"].append(probe_of(document, probe))
    result, reasons = result_of(document)
    assert result == "FAILED"
    assert f"{probe} is there 2 times" in reasons


def test_a_simulated_probe_satisfies_nothing(
    probe: str, gate: str | None, document: Document
) -> None:
    probe_of(document, probe)["mode"] = "simulated"
    result, reasons = result_of(document)
    if gate is not None:
        assert not judge.gate(predicate(document), gate).ok
        assert f"gate {gate}" in "\n".join(judge.claims(predicate(document)))
    else:
        assert result == "FAILED"
        assert f"{probe} was simulated" in reasons


def test_a_probe_without_evidence_fails(probe: str, gate: str | None, document: Document) -> None:
    probe_of(document, probe)["evidence"] = {}
    claims = "\n".join(judge.claims(predicate(document)))
    assert f"{probe} is said to have passed" in claims
    assert result_of(document)[0] == ("FAILED" if gate is None else "PASSED")


def test_a_probe_that_says_failed_over_good_evidence_is_a_lie_too(
    probe: str, gate: str | None, document: Document
) -> None:
    probe_of(document, probe)["status"] = "failed"
    said = f"{probe} is said to have failed"
    assert said in "\n".join(judge.claims(predicate(document)))
    assert (said in result_of(document)[1]) is (gate is None)


def test_a_wrong_mandatory_flag_is_a_lie(probe: str, document: Document) -> None:
    entry = probe_of(document, probe)
    entry["mandatory"] = not entry["mandatory"]
    assert f"{probe} is wrongly said" in "\n".join(judge.claims(predicate(document)))


def test_the_reason_of_a_probe_that_saw_nothing_is_its_own(document: Document) -> None:
    entry = probe_of(document, "control.ready")
    entry |= {"evidence": {}, "status": "failed", "reason": "could not be observed: refused"}
    assert "control.ready does not hold: could not be observed" in result_of(document)[1]


def test_an_unknown_probe_is_not_believed(document: Document) -> None:
    document["predicate"]["probes"].append(
        {**probe_of(document, "control.ready"), "name": "forge.ready"}
    )
    result, reasons = result_of(document)
    assert result == "FAILED"
    assert "no rule judges the probe forge.ready" in reasons


@pytest.mark.parametrize("target", ["incus", "ssh"])
def test_a_target_without_rules_cannot_pass(target: str, document: Document) -> None:
    document["predicate"]["target"] = target
    assert result_of(document)[0] == "FAILED"


STEP_CHANGES: dict[str, Callable[[list[Document]], object]] = {
    "failed": lambda steps: steps[4].update(status="failed", error="no"),
    "skipped": lambda steps: steps[4].update(status="skipped"),
    "removed": lambda steps: steps.pop(4),
    "twice": lambda steps: steps.insert(4, steps[4]),
    "out of order": lambda steps: steps.reverse(),
    "renamed": lambda steps: steps[4].update(name="rest"),
    "all gone": lambda steps: steps.clear(),
}


@pytest.mark.parametrize("how", list(STEP_CHANGES))
def test_every_step_must_be_there_and_done(how: str, document: Document) -> None:
    STEP_CHANGES[how](document["predicate"]["steps"])
    result, reasons = result_of(document)
    assert result == "FAILED"
    assert "step" in reasons


def test_a_failure_fails(document: Document) -> None:
    document["predicate"]["failure"] = {"step": "records", "message": "disk full", "logTail": []}
    assert "it failed at step records: disk full" in result_of(document)[1]


def test_the_whole_scenario_must_have_gone_well(document: Document) -> None:
    document["predicate"]["scenario"][0]["passed"] = False
    assert "the scenario's command is said to have failed" in result_of(document)[1]


def exchange_of(document: Document, name: str) -> Document:
    found: Document = next(e for e in document["predicate"]["scenario"] if e["name"] == name)
    return found


# What an exchange observed, changed so that it did not go well, though it says that it did.
EXCHANGE_CHANGES: dict[str, tuple[str, Callable[[Document], object]]] = {
    "a command that was refused": ("command", lambda e: e["observed"].update(ok=False)),
    "a reply that lacks what was looked for": (
        "command",
        lambda e: e["observed"].update(matched=False),
    ),
    "no reply": ("command", lambda e: e["observed"].pop("replyId")),
    "nothing observed": ("command", lambda e: e["observed"].clear()),
    "other words": ("command", lambda e: e.update(said="!agency agents list")),
    "another expectation": ("command", lambda e: e.update(expected="ok=False")),
    "an outsider who was obeyed": ("refused", lambda e: e["observed"].update(ok=True)),
    "an outsider who was meant to be obeyed": (
        "refused",
        lambda e: e["observed"].update(ok=True, expectedOk=True),
    ),
    "a replay that ran again": ("replay", lambda e: e["observed"].update(auditCountAfter=99)),
    "a replay that was not taken": (
        "replay",
        lambda e: e["observed"].update(transactionStatuses=[200, 403]),
    ),
}


@pytest.mark.parametrize("how", list(EXCHANGE_CHANGES))
def test_an_exchange_is_judged_by_what_it_observed(how: str, document: Document) -> None:
    name, change = EXCHANGE_CHANGES[how]
    entry = exchange_of(document, name)
    change(entry)
    assert entry["passed"] is True
    result, reasons = result_of(document)
    assert result == "FAILED"
    assert f"the scenario's {name} did not go as expected" in reasons
    said = f"the scenario's {name} is said to have passed"
    assert said in "\n".join(judge.claims(predicate(document)))
    entry["passed"] = False
    assert result_of(document)[0] == "FAILED"
    assert said not in "\n".join(judge.claims(predicate(document)))


@pytest.mark.parametrize("version", ["9.9.9", None])
def test_the_control_plane_is_of_the_version_that_is_named(
    version: str | None, document: Document
) -> None:
    versions = document["predicate"]["versions"]
    versions.pop("agency")
    if version is not None:
        versions["agency"] = version
    assert "control.ready: not the version of the agency" in result_of(document)[1]


def test_an_empty_scenario_fails(document: Document) -> None:
    document["predicate"]["scenario"] = []
    assert "the scenario is empty" in result_of(document)[1]


LINK_CHANGES: dict[str, tuple[str, Callable[[Document], object], str]] = {
    "an agent that is not in the room": (
        "control.room",
        lambda seen: seen["joined"].remove("@agent-developer:agency.example"),
        "developer:agency.example is not among the joined",
    ),
    "an agent that was never stopped": (
        "agents.stopped",
        lambda seen: seen["agents"].pop(),
        "not the agents that agents.health saw",
    ),
    "another agent stopped": (
        "agents.stopped",
        lambda seen: seen["agents"].append({**seen["agents"][0], "name": "other"}),
        "not the agents that agents.health saw",
    ),
    "another database": (
        "store.schema",
        lambda seen: seen.update(revision="0002"),
        "not the revision that control.ready says",
    ),
    "another homeserver": (
        "homeserver.process",
        lambda seen: seen.update(pid=999),
        "homeserver.process: its process is not among those that ran",
    ),
    "an audit log that shrank": (
        "audit.chain",
        lambda seen: seen.update(count=10),
        "shorter than when scenario.replay counted it",
    ),
    "an operator as the outsider": (
        "scenario.refused",
        lambda seen: seen.update(sender="@alice:agency.example"),
        "one whose commands were carried out",
    ),
    "a refusal that nobody heard": (
        "scenario.refused",
        lambda seen: seen.update(eventId="$elsewhere"),
        "lacks the command $elsewhere",
    ),
    "a command that nobody heard": (
        "scenario.commands",
        lambda seen: seen["commands"][0].update(reply="something else"),
        "lacks the command $command1",
    ),
}


@pytest.mark.parametrize("how", list(LINK_CHANGES))
def test_observations_must_be_of_one_system(how: str, document: Document) -> None:
    name, change, reason = LINK_CHANGES[how]
    entry = probe_of(document, name)
    change(entry["evidence"])
    assert judge.PROBES[name].judge(entry["evidence"]).ok, "the probe alone still holds"
    result, reasons = result_of(document)
    assert result == "FAILED"
    assert reason in reasons


def test_an_audit_log_may_end_with_the_replay(document: Document) -> None:
    count = probe_of(document, "audit.chain")["evidence"]["count"]
    replay = probe_of(document, "scenario.replay")["evidence"]
    replay.update(auditCountBefore=count, auditCountAfter=count)
    document["predicate"]["scenario"][-1]["observed"].update(replay)
    assert result_of(document)[0] == "PASSED"


def test_misshapen_evidence_breaks_no_link_check(probe: str, document: Document) -> None:
    for evidence in (
        {"agents": 7, "running": "x", "commands": [3]},
        {"alias": None},
        {"joined": 1},
    ):
        probe_of(document, probe)["evidence"] = evidence
        assert f"{probe} is said to have passed" in "\n".join(judge.claims(predicate(document)))


def test_a_gate_is_judged_by_its_probe(document: Document) -> None:
    assert judge.gate(predicate(document), "hermetic").ok
    probe_of(document, "quarantine.outbound")["evidence"]["interfaces"] = ["eth0", "lo"]
    verdict = judge.gate(predicate(document), "hermetic")
    assert not verdict.ok
    assert "interfaces" in verdict.reason


def test_without_a_namespace_it_passes_and_is_not_hermetic(document: Document) -> None:
    body = document["predicate"]
    seen = {"mode": "none", "interfaces": ["eth0", "lo"], "attempts": []}
    probe_of(document, "quarantine.outbound").update(evidence=seen, status="failed", reason="mode")
    body["quarantine"] = {**seen, "met": False, "reason": "not permitted"}
    body["gates"][0] = {"name": "hermetic", "met": False, "reason": "not permitted"}
    assert judge.overall(predicate(document)) == ("PASSED", ())
    assert list(judge.claims(predicate(document))) == []
    assert not judge.gate(predicate(document), "hermetic").ok


def test_an_unknown_gate_is_not_met(document: Document) -> None:
    assert not judge.gate(predicate(document), "perfect").ok


CLAIM_CHANGES: dict[str, tuple[Callable[[Document], object], str]] = {
    "gate denied": (lambda body: body["gates"][0].update(met=False), "gate hermetic"),
    "gate left out": (lambda body: body["gates"].clear(), "gate hermetic is missing"),
    "gate twice": (lambda body: body["gates"].append(body["gates"][0]), "there 2 times"),
    "gate of no rule": (
        lambda body: body["gates"].append({"name": "perfect", "met": True, "reason": ""}),
        "gate perfect",
    ),
    "other interfaces": (
        lambda body: body["quarantine"].update(interfaces=["eth0"]),
        "quarantine.interfaces",
    ),
    "other attempts": (lambda body: body["quarantine"].update(attempts=[]), "quarantine.attempts"),
    "other mode": (lambda body: body["quarantine"].update(mode="none"), "quarantine.mode"),
    "quarantine denied": (lambda body: body["quarantine"].update(met=False), "quarantine.met"),
    "other audit head": (lambda body: body["audit"].update(head="00" * 32), "audit is not"),
    "other audit count": (lambda body: body["audit"].update(count=15), "audit is not"),
    "no audit": (lambda body: body.update(audit=None), "audit is not"),
}


@pytest.mark.parametrize("how", list(CLAIM_CHANGES))
def test_what_is_repeated_outside_the_evidence_must_be_the_same(
    how: str, document: Document
) -> None:
    change, reason = CLAIM_CHANGES[how]
    change(document["predicate"])
    assert reason in "\n".join(judge.claims(predicate(document)))


def test_a_failed_spin_up_tells_why(failed_document: Document) -> None:
    result, reasons = result_of(failed_document)
    assert result == "FAILED"
    assert reasons.startswith("it failed at step homeserver: port taken")
    assert list(judge.claims(predicate(failed_document))) == []
