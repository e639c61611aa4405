"""One approval, one secret, one respawn: each way of not having shown it is refused and named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.verification import Policy, Report, verify

Document = dict[str, Any]
Change = Callable[[Document], object]
Seal = Callable[[object], bytes]

APPROVAL, SECRET, RESPAWN = judge.GATES["control"]
ALICE = "@alice:agency.example"
OTHER = "0e" * 32


def at(document: Any, path: str) -> tuple[Any, Any]:
    """The parent and the key of a dotted path."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        document = document[part]
    return document, last


def put(path: str, value: object) -> Change:
    def change(evidence: Document) -> None:
        parent, key = at(evidence, path)
        parent[key] = value

    return change


def all_of(*changes: Change) -> Change:
    return lambda evidence: [change(evidence) for change in changes]


def without(path: str) -> Change:
    def change(evidence: Document) -> None:
        parent, key = at(evidence, path)
        del parent[key]

    return change


def swapped(path: str, one: int, other: int) -> Change:
    def change(evidence: Document) -> None:
        parent, key = at(evidence, path)
        rows = parent[key]
        rows[one], rows[other] = rows[other], rows[one]

    return change


REFUSED: dict[str, tuple[str, Change, str]] = {
    # Of the approval.
    "a literal": (APPROVAL, put("done.state", "granted"), "state"),
    "a literal in the prompt": (APPROVAL, put("prompt.body", "needs an approval"), "prompt.body"),
    "self approval": (
        APPROVAL,
        all_of(put("grants.0.by", ALICE), put("done.grants.0.by", ALICE)),
        "who asked approved it",
    ),
    "self approval by the store": (APPROVAL, put("done.grants.0.by", ALICE), "done.grants"),
    "own approval accepted": (APPROVAL, put("ownApproval.ok", True), "ownApproval.ok"),
    "own approval by another": (APPROVAL, put("ownApproval.by", "@bob:agency.example"), "who ask"),
    "own approval not on record": (APPROVAL, put("ownApproval.auditOutcome", None), "auditOutcome"),
    "other digest in the grant": (APPROVAL, put("done.grants.0.digest", OTHER), "digest"),
    "other digest at the end": (APPROVAL, put("done.digest", OTHER), "done.digest"),
    "other digest on record": (APPROVAL, put("audit.1.digest", OTHER), "audit.digest"),
    "other operation on record": (APPROVAL, put("audit.1.operation", f"op-{'0' * 26}"), "audit"),
    "unspent": (APPROVAL, put("done.grants.0.spent", False), "spent"),
    "no grant in the store": (APPROVAL, put("done.grants", []), "done.grants"),
    "granted before": (
        APPROVAL,
        lambda seen: seen["asked"].update(grants=seen["done"]["grants"]),
        "asked.grants",
    ),
    "nobody granted": (APPROVAL, put("grants", []), "grants"),
    "one granted twice": (
        APPROVAL,
        lambda seen: seen["grants"].append(copy.deepcopy(seen["grants"][0])),
        "eventId",
    ),
    "it did not wait": (APPROVAL, put("asked.state", "running"), "state"),
    "it failed": (APPROVAL, put("result.ok", False), "result.ok"),
    "no rule": (APPROVAL, put("asked.rule", None), "asked.rule"),
    "other command": (APPROVAL, put("said", "!agency ping"), "said"),
    "other message": (APPROVAL, put("requestId", "$other"), "asked.id"),
    "prompt elsewhere": (APPROVAL, put("prompt.thread", "$other"), "prompt.thread"),
    "from past the room": (
        APPROVAL,
        all_of(put("asked.cause", "cli"), put("done.cause", "cli")),
        "in the room",
    ),
    "still there": (APPROVAL, put("secretAfter.present", True), "secretAfter"),
    "never there": (APPROVAL, put("secretBefore.present", False), "secretBefore"),
    "row waiting missing": (APPROVAL, without("audit.0"), "audit"),
    "row granted missing": (APPROVAL, without("audit.1"), "audit"),
    "row accepted missing": (APPROVAL, without("audit.2"), "audit"),
    "row done missing": (APPROVAL, without("audit.3"), "audit"),
    "rows in another order": (APPROVAL, swapped("audit", 1, 2), "audit"),
    "rows of another trace": (APPROVAL, put("audit.3.trace", "tr-other"), "audit"),
    "granted after it ran": (APPROVAL, put("audit.1.sequence", 12), "audit"),
    # Of the secret.
    "not by the form": (SECRET, put("entered.by", "chat"), "entered.by"),
    "form refused": (SECRET, put("entered.status", 403), "entered.status"),
    "link works again": (SECRET, put("entered.statusAgain", 200), "statusAgain"),
    "held literal": (SECRET, put("held.secrets", "configured"), "held.secrets"),
    "holds nothing": (SECRET, put("held.secrets", []), "held.secrets"),
    "holds another": (SECRET, put("held.secrets.0.name", "other"), "held.secrets"),
    "holds another version": (SECRET, put("held.secrets.0.version", 2), "held.secrets"),
    "another agent's word": (SECRET, put("held.agent", "pm"), "held.agent"),
    "row set missing": (SECRET, without("audit.1"), "lacks secrets set"),
    "row enter missing": (SECRET, without("audit.2"), "lacks secrets enter"),
    "row bind missing": (SECRET, without("audit.4"), "lacks secrets bind"),
    "row redeem missing": (SECRET, without("audit.5"), "lacks secrets redeem"),
    "row deliver missing": (SECRET, without("audit.6"), "lacks secrets deliver"),
    "entered by a person": (SECRET, put("audit.2.actor", ALICE), "lacks secrets enter"),
    "redeemed by another agent": (SECRET, put("audit.5.actor", "agent:pm"), "secrets redeem"),
    "redeemed without a lease": (SECRET, without("audit.5.lease"), "lease"),
    "redeemed another version": (SECRET, put("audit.5.version", 2), "lease"),
    "delivered something else": (SECRET, put("audit.6.held", "deploy-token-2 1"), "held"),
    "redeemed before it was bound": (SECRET, put("audit.5.sequence", 1), "order"),
    "bound by two": (SECRET, put("audit.3.actor", "@bob:agency.example"), "not one person"),
    "found in a log": (SECRET, put("search.places", ["log"]), "search.places"),
    "found once": (SECRET, put("search.findings", 1), "search.findings"),
    "nothing planted found": (SECRET, put("search.planted.findings", 0), "planted"),
    "not found in the room": (SECRET, put("search.planted.places.3", "other"), "room"),
    "not found in the evidence": (SECRET, put("search.planted.places.1", "other"), "evidence"),
    "not found in the logs": (SECRET, put("search.planted.places.2", "other"), "the logs"),
    "not found in the store": (SECRET, put("search.planted.places.0", "other"), "the store"),
    "no room searched": (SECRET, put("search.roomEvents", 0), "roomEvents"),
    # Of the respawn.
    "same pid": (RESPAWN, put("after.pid", 4719), "after.pid"),
    "same incarnation": (RESPAWN, put("after.incarnation", "run-before"), "after.incarnation"),
    "another agent": (RESPAWN, put("after.agent", "pm"), "another agent"),
    "another process killed": (RESPAWN, put("killed.pid", 4720), "killed.pid"),
    "asked to end": (RESPAWN, put("killed.signal", "SIGHUP"), "killed.signal"),
    "still alive": (RESPAWN, put("deadPidAlive", True), "deadPidAlive"),
    "another project": (RESPAWN, put("after.project", "other"), "after.project"),
    "by a person": (RESPAWN, put("operation.actor", ALICE), "operation"),
    "from the room": (RESPAWN, put("operation.cause", "matrix"), "operation"),
    "a start": (RESPAWN, put("operation.action", "agents start"), "operation"),
    "of another": (RESPAWN, put("operation.target", "pm"), "operation"),
    "not done": (RESPAWN, put("operation.state", "running"), "operation"),
    "no time": (RESPAWN, put("seconds", 0.0), "seconds"),
    "not noticed": (RESPAWN, without("audit.0"), "audit"),
    "not accepted": (RESPAWN, without("audit.1"), "audit"),
    "no end": (RESPAWN, without("audit.2"), "audit"),
    "a row of another trace": (RESPAWN, put("audit.0.trace", "tr-other"), "audit"),
    "told of nothing": (RESPAWN, put("notice.body", "developer runs"), "notice.body"),
}


def probe_of(document: Document, name: str) -> Document:
    found: Document = next(p for p in document["predicate"]["probes"] if p["name"] == name)
    return found


@pytest.mark.parametrize(("name", "change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_was_not_shown_fails_and_is_named(
    name: str, change: Change, words: str, document: Document
) -> None:
    change(probe_of(document, name)["evidence"])
    predicate = Predicate.model_validate(document["predicate"])
    result, reasons = judge.overall(predicate)
    (reason,) = (text for text in reasons if text.startswith(f"the probe {name} does not hold"))
    assert result == "FAILED"
    assert words in reason
    assert name in judge.gate(predicate, "control").reason


# Evidence that each holds alone, and that is not of one agency, or not of this one.
APART: dict[str, tuple[str, Change, str]] = {
    "another secret": (
        SECRET,
        lambda seen: seen.update(
            seen | {"secret": "deploy-token", "bindId": "$other"},
        ),
        "the scenario lacks !agency secrets bind",
    ),
    "bound to another": (
        APPROVAL,
        put("secretBefore.agents", ["pm"]),
        "not bound to the agent of secret.delivered",
    ),
    "nobody said what was planted": (
        SECRET,
        put("mark", f"canary-{'f' * 24}"),
        "nobody said what was planted",
    ),
    "asked by nobody who was obeyed": (
        APPROVAL,
        put("grants.0.eventId", "$unheard"),
        "the scenario lacks $unheard",
    ),
    "prompt by another": (
        APPROVAL,
        put("prompt.sender", "@mallory:agency.example"),
        "is not the control plane",
    ),
    "notice by another": (
        RESPAWN,
        put("notice.sender", "@mallory:agency.example"),
        "is not the control plane",
    ),
    "another search": (SECRET, put("search.secretsChecked", 8), "not its search"),
    "killed who never held it": (
        RESPAWN,
        all_of(put("before.pid", 4718), put("killed.pid", 4718)),
        "not the process that held the secret",
    ),
    "another incarnation held it": (
        RESPAWN,
        put("before.incarnation", "run-earlier"),
        "not what held the secret",
    ),
    "back and not running": (
        RESPAWN,
        all_of(
            put("after.pid", 4999),
            put("notice.body", "developer died, pid 4999. Trace: tr-respawn"),
        ),
        "is not among those that ran: 4999",
    ),
    "more rows than the log has": (RESPAWN, put("audit.2.sequence", 15), "more rows than"),
    "held by a process from nowhere": (SECRET, put("held.pid", 4001), "agents.health saw"),
    "ended by what systemd mends": (RESPAWN, put("killed.signal", "SIGTERM"), "not by SIGKILL"),
}


@pytest.mark.parametrize(("name", "change", "words"), APART.values(), ids=APART.keys())
def test_what_is_not_of_one_agency_fails(
    name: str, change: Change, words: str, document: Document
) -> None:
    evidence = probe_of(document, name)["evidence"]
    change(evidence)
    assert judge.PROBES[name].judge(evidence).ok, "it holds alone"
    result, reasons = judge.overall(Predicate.model_validate(document["predicate"]))
    assert result == "FAILED"
    assert words in "\n".join(reasons)


def test_a_guest_must_not_have_been_killed_by_pid(guest_document: Document) -> None:
    assert judge.overall(Predicate.model_validate(guest_document["predicate"])) == ("PASSED", ())
    probe_of(guest_document, RESPAWN)["evidence"]["killed"]["signal"] = "SIGKILL"
    result, reasons = judge.overall(Predicate.model_validate(guest_document["predicate"]))
    assert result == "FAILED"
    assert "not by SIGTERM" in "\n".join(reasons)


def test_the_one_agent_of_an_agency_may_be_killed_after_the_replay(document: Document) -> None:
    """The process of the replay is then not among those that ran at the end."""
    replayed = probe_of(document, "scenario.replay")["evidence"]
    replayed.update(pidBefore=4719, pidAfter=4719)
    document["predicate"]["scenario"][-1]["observed"].update(replayed)
    assert judge.overall(Predicate.model_validate(document["predicate"])) == ("PASSED", ())
    replayed.update(pidBefore=4718, pidAfter=4718)
    document["predicate"]["scenario"][-1]["observed"].update(replayed)
    _, reasons = judge.overall(Predicate.model_validate(document["predicate"]))
    assert "scenario.replay: its process is not among those that ran: 4718" in reasons


@pytest.mark.parametrize("name", judge.GATES["control"])
@pytest.mark.parametrize("made", ["document", "guest_document"])
def test_where_an_agency_is_made_none_may_be_missing(
    name: str, made: str, request: pytest.FixtureRequest, seal: Seal, pem: bytes
) -> None:
    whole = request.getfixturevalue(made)
    assert verify(seal(whole), pem, policy=Policy(gates=("control",))).ok
    whole["predicate"]["probes"].remove(probe_of(whole, name))
    assert not verify(seal(whole), pem).ok


def unapproved(document: Document) -> Document:
    """The transcript of a host where nobody could approve anything: it says so."""
    for name in (APPROVAL, SECRET):
        reason = "could not be observed: nobody can approve what the first operator asks for"
        probe_of(document, name).update(status="failed", evidence={}, reason=reason)
    predicate = document["predicate"]
    predicate["scenario"] = [one for one in predicate["scenario"] if one["name"] != "approval"]
    predicate["gates"][1].update(met=False, reason="nobody can approve")
    return document


def test_a_host_of_one_person_passes_and_does_not_meet_the_gate(
    talked_document: Document, seal: Seal, pem: bytes
) -> None:
    def check(document: Document, *gates: str) -> Report:
        return verify(seal(document), pem, policy=Policy(gates=gates))

    assert check(talked_document, "control").ok
    alone = unapproved(talked_document)
    report = check(alone)
    assert report.ok, report.reasons
    demanded = check(alone, "control")
    assert demanded.refused_by == "required"
    assert "nobody can approve what the first operator asks for" in demanded.verdict
    alone["predicate"]["gates"][1]["met"] = True
    assert check(alone).refused_by == "claims"


def test_a_host_that_was_talked_to_must_show_a_respawn(
    talked_document: Document, seal: Seal, pem: bytes
) -> None:
    alone = unapproved(talked_document)
    alone["predicate"]["probes"].remove(probe_of(alone, RESPAWN))
    assert "agent.respawned is missing" in "\n".join(verify(seal(alone), pem).reasons)
