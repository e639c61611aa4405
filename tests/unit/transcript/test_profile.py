"""A profile names parts that were examined too: their probes are then mandatory, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v2 import added, judge
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.verification import Policy, verify

Document = dict[str, Any]
Seal = Callable[[object], bytes]

PART_RULES = [rule for rules in added.PARTS.values() for rule in rules]


def reasons(document: Document) -> str:
    return "; ".join(judge.overall(Predicate.model_validate(document["predicate"]))[1])


def evidence(document: Document, name: str) -> Document:
    found: list[Document] = [p for p in document["predicate"]["probes"] if p["name"] == name]
    seen: Document = found[0]["evidence"]
    return seen


def attempt(seen: Document, user: str, door: str) -> Document:
    found: list[Document] = seen["attempts"]
    return next(each for each in found if (each["user"], each["door"]) == (user, door))


def came(made: Document, **how: Any) -> None:
    """Let an attempt have come to another end."""
    ends = {"status": "answered", "bytes": "read", "reason": "refused"}
    for key in ends:
        made.pop(key, None)
    made.update(outcome=ends[next(iter(how))], **how)


@pytest.mark.parametrize("part", added.PARTS)
def test_each_of_its_probes_can_be_demanded(
    part: str, profile_document: Document, seal: Seal, pem: bytes
) -> None:
    names = tuple(rule.name for rule in added.PARTS[part])
    report = verify(seal(profile_document), pem, policy=Policy(probes=names))
    assert report.ok, report.reasons


@pytest.mark.parametrize("rule", PART_RULES, ids=lambda rule: rule.name)
def test_a_run_that_had_the_part_cannot_pass_without_its_probe(
    rule: judge.ProbeRule, profile_document: Document
) -> None:
    predicate = profile_document["predicate"]
    predicate["probes"] = [p for p in predicate["probes"] if p["name"] != rule.name]
    assert reasons(profile_document) == f"the mandatory probe {rule.name} is missing"
    predicate["profile"] = []
    assert reasons(profile_document) == "", "the control: nobody asked for it"


@pytest.mark.parametrize("rule", PART_RULES, ids=lambda rule: rule.name)
def test_a_probe_that_does_not_hold_fails_the_run(
    rule: judge.ProbeRule, profile_document: Document
) -> None:
    evidence(profile_document, rule.name).clear()
    assert f"the probe {rule.name} does not hold" in reasons(profile_document)


def test_a_part_without_rules_cannot_pass(profile_document: Document) -> None:
    profile_document["predicate"]["profile"].append("moon")
    assert "no rule says what the part moon" in reasons(profile_document)


def test_whose_profile_was_cut_says_too_much(
    profile_document: Document, seal: Seal, pem: bytes
) -> None:
    del profile_document["predicate"]["profile"]
    report = verify(seal(profile_document), pem)
    assert any("wrongly said to be mandatory" in reason for reason in report.reasons)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("recipes.converged", lambda s: s["units"].pop(2), "lack agency-dashboard.service"),
        ("recipes.converged", lambda s: s["units"][1].update(active="failed"), "units.1.active"),
        ("recipes.converged", lambda s: s["reconcilers"].pop(1), "not swarm-init, proxy-network"),
        (
            "recipes.converged",
            lambda s: s["reconcilers"][2].update(result="exit-code"),
            "reconcilers.2.result",
        ),
        ("recipes.converged", lambda s: s["reconcilers"][0]["runs"].pop(0), "nothing was made"),
        (
            "recipes.converged",
            lambda s: s["reconcilers"][1]["runs"].pop(1),
            "none has changed anything",
        ),
        (
            "recipes.converged",
            lambda s: s["reconcilers"][2]["runs"].append(s["reconcilers"][2]["runs"][0]),
            "the last one said 'traefik: 3 changed",
        ),
        (
            "recipes.converged",
            lambda s: s["reconcilers"][0].update(unit="other.service"),
            "of another reconciler",
        ),
        ("recipes.converged", lambda s: s["networks"].pop(1), "lack one overlay of the swarm"),
        ("recipes.converged", lambda s: s["networks"][1].update(driver="bridge"), "lack one over"),
        (
            "recipes.converged",
            lambda s: s["networks"][1].update(id="another"),
            "not in the network",
        ),
        ("recipes.converged", lambda s: s["services"][0].update(name="x"), "traefik_agency_ex"),
        ("recipes.converged", lambda s: s["services"][0].update(running=0), "services.0.running"),
        ("recipes.converged", lambda s: s["pages"].pop(0), "pages: lack bridge"),
        ("recipes.converged", lambda s: s["pages"][1].update(status=503), "pages.1.status"),
        ("recipes.converged", lambda s: s["looks"].pop("failed"), "looks.failed"),
        ("recipes.converged", lambda s: s["abra"].update(version=""), "abra.version"),
        ("edge.tls", lambda s: s["sites"].pop(2), "lacks element.agency.example"),
        ("edge.tls", lambda s: s["sites"][1].update(verified=False), "verified"),
        (
            "edge.tls",
            lambda s: s["sites"][1].update(notAfter="2026-07-01T12:00:00+00:00"),
            "not valid when it was looked at",
        ),
        (
            "edge.tls",
            lambda s: s["sites"][1].update(notBefore="2026-07-01T12:30:00+00:00"),
            "not valid when it was looked at",
        ),
        ("edge.tls", lambda s: s["sites"][1].update(names=["*.other.example"]), "none is that"),
        # A star is one label.
        ("edge.tls", lambda s: s["sites"][1].update(names=["*.example"]), "none is that"),
        (
            "edge.tls",
            lambda s: s["sites"][0]["headers"].update({"strict-transport-security": "max-age=60"}),
            "missing or too short",
        ),
        ("edge.tls", lambda s: s["unknown"][0].update(host="agency.example"), "name of a site"),
        ("edge.tls", lambda s: s["unknown"][0].update(outcome="answered"), "unknown"),
        ("edge.tls", lambda s: s["closed"][0].update(status=200), "closed"),
        ("edge.tls", lambda s: s["plainHttp"].update(served443=True), "served443"),
        (
            "edge.client-address",
            lambda s: s["throughEdge"].update(kept=["192.0.2.9"]),
            "not the client's true address",
        ),
        (
            "edge.client-address",
            lambda s: s["throughEdge"].update(kept=["127.83.0.1", "192.0.2.9"]),
            "not the client's true address",
        ),
        (
            "edge.client-address",
            lambda s: s["pastEdge"].update(kept=["127.0.0.1"]),
            "would not have been believed",
        ),
        (
            "edge.client-address",
            lambda s: s["conversation"].update(kept=["127.0.0.1"]),
            "did not come through the edge",
        ),
        (
            "edge.client-address",
            lambda s: s["pastEdge"].update(userAgent=s["throughEdge"]["userAgent"]),
            "cannot be told apart",
        ),
        ("edge.client-address", lambda s: s.update(lies=["Forwarded"]), "X-Forwarded-For"),
        (
            "edge.login",
            lambda s: s.update(userId="@alice:other.example"),
            "not Element's site of the homeserver's domain",
        ),
        ("edge.login", lambda s: s.update(page="http://element.agency.example/"), "page"),
        ("edge.login", lambda s: s["calls"][2].update(status=401), "whoami"),
        (
            "edge.login",
            lambda s: s["connection"].update(validTo="2026-07-02T18:00:00+00:00"),
            "not the certificate that edge.tls saw",
        ),
        ("backup.restored", lambda s: s["lost"].update(rowsLeft=1), "lost.rowsLeft"),
        ("backup.restored", lambda s: s["lost"].update(storeLeft=True), "lost.storeLeft"),
        ("backup.restored", lambda s: s["found"].update(rows=0), "found.rows"),
        (
            "backup.restored",
            lambda s: s["found"].update(eventId=s["command"]["eventId"]),
            "not the message that was lost",
        ),
        ("backup.restored", lambda s: s.update(made="0" * 64), "not the one that the unit made"),
        (
            "backup.restored",
            lambda s: s.update(restoredAt=s["createdAt"]),
            "not after the snapshot",
        ),
        ("backup.restored", lambda s: s["parts"].pop(1), "lack store:control"),
        ("backup.restored", lambda s: s["parts"].append(s["parts"][2]), "one comes twice"),
        ("backup.restored", lambda s: s["parts"][0].update(after=2309), "another number"),
        ("backup.restored", lambda s: s["parts"][2].update(same=False), "parts.2.same"),
        ("backup.restored", lambda s: s["parts"][1].update(before=0, after=0), "is empty"),
        ("backup.restored", lambda s: s["auditAfter"].update(count=11), "not the end"),
        ("backup.restored", lambda s: s.update(continues=12), "no row follows"),
        ("backup.restored", lambda s: s.update(continues=None), "continues"),
        ("backup.restored", lambda s: s.update(continues=15), "shorter than when"),
        (
            "backup.restored",
            lambda s: [s[end].update(count=10) for end in ("auditBefore", "auditAfter")],
            "longer before",
        ),
        ("backup.restored", lambda s: s.update(instance="other"), "not of the instance"),
        ("backup.restored", lambda s: s.update(ready=False), "ready"),
        ("backup.restored", lambda s: s["command"].update(ok=False), "command.ok"),
        ("backup.restored", lambda s: s["units"][1].update(result="exit-code"), "units.1.res"),
        ("backup.restored", lambda s: s["units"].pop(1), "not agency-backup.service and"),
        ("backup.restored", lambda s: s["units"][0].pop("timer"), "units.0.timer"),
        (
            "backup.restored",
            lambda s: s["units"][0]["timer"].update(name="agency-backup-verify.timer"),
            "another unit's",
        ),
        # As of one that was started by hand, after or before.
        (
            "backup.restored",
            lambda s: s["units"][0]["timer"].update(firedAt="2026-07-01T12:00:05.000Z"),
            "not when its timer fired",
        ),
        (
            "backup.restored",
            lambda s: s["units"][0]["timer"].update(firedAt="2026-07-01T11:00:00.000Z"),
            "not when its timer fired",
        ),
        ("backup.restored", lambda s: s["units"][0]["timer"].update(firedAt=""), "firedAt"),
        (
            "backup.restored",
            lambda s: s["units"][0]["capabilities"].append("cap_dac_override"),
            "units.0.capabilities",
        ),
        ("agent.worked", lambda s: s.update(outcome="stopped"), "outcome"),
        ("agent.worked", lambda s: s["model"].update(kind="real"), "model.kind"),
        (
            "agent.worked",
            lambda s: s["answer"].update(sender="@agent-pm:agency.example"),
            "not the agent",
        ),
        (
            "agent.worked",
            lambda s: s["answer"].update(thread=s["answer"]["eventId"]),
            "not that of the task",
        ),
        (
            "agent.worked",
            lambda s: s.update(calls=[c for c in s["calls"] if c["decision"] == "deny"]),
            "none was allowed and made",
        ),
        (
            "agent.worked",
            lambda s: s.update(calls=[c for c in s["calls"] if c["decision"] == "allow"]),
            "none was denied",
        ),
        ("agent.worked", lambda s: s["calls"][3].update(outcome="done"), "denied was made"),
        (
            "agent.worked",
            lambda s: s["model"]["requests"][3].update(turn="work__test"),
            "none asked for a tool that was not offered",
        ),
        ("agent.worked", lambda s: s["calls"][0].update(tool="work/push"), "not offered was made"),
        ("agent.worked", lambda s: s["models"].pop(), "not as many calls as requests"),
        (
            "agent.worked",
            lambda s: s["model"]["requests"][0].update(keySha256="0" * 64),
            "not by the provider's key",
        ),
        ("agent.worked", lambda s: s["audit"]["rows"].pop(2), "audit.rows: one is missing"),
        (
            "agent.worked",
            lambda s: [r.update(event="x.y") for r in s["audit"]["rows"] if "ended" in r["event"]],
            "lack tool.ended, message.ended",
        ),
        # As of an agent that tells itself what its models cost.
        (
            "agent.worked",
            lambda s: s["audit"]["rows"][1].update(uid=s["audit"]["rows"][0]["uid"]),
            "not told by the proxy",
        ),
        ("agent.worked", lambda s: s["branch"].update(testStatus=1), "branch.testStatus"),
        ("agent.worked", lambda s: s["branch"].update(pushed=True), "branch.pushed"),
        (
            "agent.worked",
            lambda s: s["branch"].update(parent=s["branch"]["commit"]),
            "nothing was handed in",
        ),
        ("agent.worked", lambda s: s["branch"].update(author="root"), "branch.author"),
        ("agent.worked", lambda s: s["branch"].update(name="main"), "branch.name"),
        ("agent.worked", lambda s: s["units"][1].update(active="failed"), "does not run"),
        (
            "agent.worked",
            lambda s: came(attempt(s, "agent-pm", "gateway"), status=200),
            "gateway, by agent-pm: not refused",
        ),
        (
            "agent.worked",
            lambda s: came(attempt(s, "agent-pm", "proxy"), status=401),
            "proxy, by agent-pm: not refused",
        ),
        (
            "agent.worked",
            lambda s: attempt(s, "nobody", "proxy without token").update(status=200),
            "proxy without token, by nobody: not 401",
        ),
        (
            "agent.worked",
            lambda s: came(attempt(s, "agent-developer", "provider's key"), bytes=9),
            "provider's key, by the agent: not refused",
        ),
        # A door that nobody passes is none, and shows nothing.
        (
            "agent.worked",
            lambda s: came(attempt(s, "agent-developer", "gateway"), reason="OSError"),
            "gateway, by the agent: not 200",
        ),
        (
            "agent.worked",
            lambda s: s.update(attempts=[a for a in s["attempts"] if a["user"] != "agent-pm"]),
            "lack another agent",
        ),
        (
            "agent.worked",
            lambda s: s["attempts"].remove(attempt(s, "agent-pm", "credential")),
            "credential, by agent-pm",
        ),
        (
            "agent.worked",
            lambda s: s["after"]["units"][0].update(active="active"),
            "did not end with the agent",
        ),
        (
            "agent.worked",
            lambda s: s["after"]["attempts"][1].update(status=200),
            "a token still opens a door",
        ),
        ("alerts.delivered", lambda s: s["units"].pop(1), "lack prometheus.service"),
        ("alerts.delivered", lambda s: s["units"][0].update(active="failed"), "units.0.active"),
        ("alerts.delivered", lambda s: s["targets"].pop(5), "lack synapse"),
        ("alerts.delivered", lambda s: s["targets"][1].update(health="down"), "targets.1.health"),
        ("alerts.delivered", lambda s: s["trial"].update(active="active"), "trial.active"),
        ("alerts.delivered", lambda s: s["trial"].update(unit="other.service"), "unit that failed"),
        ("alerts.delivered", lambda s: s.update(prometheus=None), "prometheus"),
        ("alerts.delivered", lambda s: s["prometheus"].update(state="pending"), "prometheus.state"),
        ("alerts.delivered", lambda s: s["prometheus"].update(rule="Other"), "another alert"),
        # As with a rule that was made to fire at once.
        ("alerts.delivered", lambda s: s["prometheus"].update(forS=0), "prometheus.forS"),
        (
            "alerts.delivered",
            lambda s: s["alertmanager"].update(startsAt="2026-07-01T12:00:08.000Z"),
            "before the rule had waited",
        ),
        ("alerts.delivered", lambda s: s.update(alertmanager=None), "alertmanager"),
        ("alerts.delivered", lambda s: s["alertmanager"].update(receivers=[]), "receivers"),
        (
            "alerts.delivered",
            lambda s: s["alertmanager"]["labels"].update(name="other.service"),
            "another alert than Prometheus found",
        ),
        ("alerts.delivered", lambda s: s.update(messages=[]), "messages"),
        ("alerts.delivered", lambda s: s["messages"].append(s["messages"][0]), "messages"),
        (
            "alerts.delivered",
            lambda s: s["messages"][0].update(body="Critical: UnitFailed: other.service"),
            "not about this alert",
        ),
        (
            "alerts.delivered",
            lambda s: s["messages"][0].update(sender="@alice:agency.example"),
            "not by the control plane",
        ),
        (
            "alerts.delivered",
            lambda s: s["messages"][0].update(sender="@agency:other.example"),
            "not by this control plane",
        ),
        ("alerts.delivered", lambda s: s.update(roomId="!other:x"), "not the room of control.room"),
        ("alerts.delivered", lambda s: s["again"].update(knownAfter=0), "not delivered again"),
        ("alerts.delivered", lambda s: s.update(again={}), "again.known"),
        ("alerts.delivered", lambda s: s["attempts"][1].update(status=200), "attempts.1.status"),
        ("alerts.delivered", lambda s: s["attempts"].pop(1), "not missing, wrong, homeserver's"),
        ("alerts.delivered", lambda s: s["accepted"].update(status=401), "accepted.status"),
        (
            "alerts.delivered",
            lambda s: s["connections"][0].update(outcome="connected"),
            "a stranger is heard",
        ),
        ("alerts.delivered", lambda s: s["connections"].pop(1), "who should be is not"),
    ],
)
def test_what_a_broken_part_shows_is_refused(
    name: str, change: Callable[[Document], object], reason: str, profile_document: Document
) -> None:
    assert reasons(profile_document) == ""
    change(evidence(profile_document, name))
    assert reason in reasons(profile_document)
