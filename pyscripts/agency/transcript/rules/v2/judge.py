"""Judgement of a transcript's facts: pure functions for its maker and its verifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from agency.transcript.rules.v1 import (
    agents_audit,
    guest,
    observed,
    oidc,
    scenario,
    secrecy,
    ssh,
)
from agency.transcript.rules.v1.rule import ProbeRule, Verdict
from agency.transcript.rules.v1.times import broken_times
from agency.transcript.rules.v2 import added, control, shop, suite
from agency.transcript.rules.v2.links import broken_links
from agency.transcript.rules.v2.model import Predicate, Probe, Result

__all__ = [
    "GATES",
    "PROBES",
    "STEPS",
    "ProbeRule",
    "Verdict",
    "claims",
    "completeness",
    "gate",
    "mandatory",
    "overall",
    "probe",
    "read_only",
    "shortcomings",
]

# Those of v1, save what this version says otherwise: of two rules of a name the later one holds.
PROBES: Mapping[str, ProbeRule] = {
    rule.name: rule
    for rule in (
        *observed.RULES,
        *scenario.RULES,
        *secrecy.RULES,
        *agents_audit.RULES,
        *guest.RULES,
        *oidc.RULES,
        *ssh.RULES,
        *suite.RULES,
        *added.RULES,
    )
}

# The steps of each target, in order. A transcript that lacks one of them cannot pass, so leaving
# out the step that failed hides nothing.
STEPS: Mapping[str, tuple[str, ...]] = {
    "local": (
        "quarantine",
        "install",
        "homeserver",
        "accounts",
        "control",
        "probe",
        "scenario",
        "records",
        "teardown",
    ),
    "incus": (
        "image",
        "create",
        "quarantine",
        "install",
        "activate",
        "accounts",
        "probe",
        "scenario",
        "records",
        "converge",
        "login",
        "isolation",
        "reboot",
        "teardown",
    ),
    "ssh": (
        "connect",
        "quarantine",
        "probe",
        "scenario",
        "isolation",
        "records",
        "teardown",
    ),
}

# A host at work is looked at and not talked to, unless somebody says otherwise. Such a transcript
# says so itself: the step was skipped, and nothing is in it that only a conversation can show.
READ_ONLY_SKIPS: Mapping[str, str] = {"ssh": "scenario"}
# What is mandatory beside the rules' own targets, as soon as a host was talked to. An approval and
# a secret take a second person, whom a host may not have: there the gate `control` is not met.
WHEN_TALKED_TO: frozenset[str] = frozenset(
    (
        "control.room",
        "agents.health",
        "agents.stopped",
        "agent.respawned",
        *(rule.name for rule in (*scenario.RULES, *secrecy.RULES)),
    )
)

# A gate is met when each of its probes is there once, was observed, and holds. `shop` needs more:
# the probes of every service that the first one lists.
GATES: Mapping[str, tuple[str, ...]] = {
    "hermetic": ("quarantine.outbound",),
    "control": control.GATE,
    "shop": (shop.SERVICES,),
}


def overall(predicate: Predicate) -> tuple[Result, tuple[str, ...]]:
    """Return the result that the facts allow, and the reasons against PASSED."""
    reasons = (*shortcomings(predicate), *completeness(predicate))
    return ("FAILED" if reasons else "PASSED"), reasons


def gate(predicate: Predicate, name: str) -> Verdict:
    """Judge a gate by the facts."""
    if name not in GATES:
        return Verdict(False, f"no rule says what the gate {name!r} needs")
    if name == "shop":
        lacking = tuple(shop.lacking(predicate, partial(_probe_problem, predicate)))
        return Verdict(not lacking, "; ".join(lacking))
    for needed in GATES[name]:
        problem = _probe_problem(predicate, needed)
        if problem is not None:
            return Verdict(False, problem)
    return Verdict(True)


def probe(predicate: Predicate, name: str) -> Verdict:
    """Judge a probe: it must be there exactly once, observed, and hold."""
    problem = _probe_problem(predicate, name)
    return Verdict(problem is None, problem or "")


def read_only(predicate: Predicate) -> bool:
    """Return True if no command was sent: the step that talks was skipped on purpose."""
    skipped = {step.name for step in predicate.steps if step.status == "skipped"}
    return predicate.failure is None and READ_ONLY_SKIPS.get(predicate.target) in skipped


def mandatory(name: str, target: str, profile: Iterable[str]) -> bool:
    """Return whether a probe is said to be mandatory for a target with a profile."""
    return PROBES[name].mandatory_for(target) or name in added.of_profile(profile)


def _mandatory(predicate: Predicate) -> frozenset[str]:
    names = {rule.name for rule in PROBES.values() if rule.mandatory_for(predicate.target)}
    talked = predicate.target in READ_ONLY_SKIPS and not read_only(predicate)
    names |= added.of_profile(predicate.profile)
    return frozenset(names | WHEN_TALKED_TO if talked else names)


def completeness(predicate: Predicate) -> Iterator[str]:
    """Yield what is missing: steps, mandatory probes, scenario."""
    expected = STEPS.get(predicate.target)
    needed = _mandatory(predicate)
    if expected is None or not needed:
        yield f"no rule says what a spin-up of target {predicate.target!r} must show"
        return
    for part in predicate.profile:
        if part not in added.PARTS:
            yield f"no rule says what the part {part} of the profile must show"
    steps = tuple(step.name for step in predicate.steps)
    if steps != expected:
        yield f"the steps are {', '.join(steps) or 'none'}; they must be {', '.join(expected)}"
    found = Counter(probe.name for probe in predicate.probes)
    for name in PROBES:
        if name in needed and found[name] == 0:
            yield f"the mandatory probe {name} is missing"
    for name, count in found.items():
        if count > 1:
            yield f"the probe {name} is there {count} times"
        if name not in PROBES:
            yield f"no rule judges the probe {name}"
    yield from _conversation(predicate)


def _conversation(predicate: Predicate) -> Iterator[str]:
    if not read_only(predicate):
        if not predicate.scenario:
            yield "the scenario is empty"
    elif predicate.scenario or any(entry.name in WHEN_TALKED_TO for entry in predicate.probes):
        yield "the step scenario was skipped, and yet there is a conversation"


def shortcomings(predicate: Predicate) -> Iterator[str]:
    """Yield what is there and does not hold: a failure, steps, probes, scenario, links."""
    if predicate.failure is not None:
        yield f"it failed at step {predicate.failure.step}: {predicate.failure.message}"
    left_out = READ_ONLY_SKIPS.get(predicate.target) if read_only(predicate) else None
    for step in predicate.steps:
        if step.status != "done" and step.name != left_out:
            yield f"the step {step.name} was {step.status}"
    needed = _mandatory(predicate)
    for entry in predicate.probes:
        rule = PROBES.get(entry.name)
        if rule is None or entry.name not in needed:
            continue
        problem = _entry_problem(entry, rule)
        if problem is not None:
            yield problem
    for exchange in predicate.scenario:
        verdict = scenario.judge_exchange(exchange)
        if not verdict.ok:
            yield f"the scenario's {exchange.name} did not go as expected: {verdict.reason}"
        elif not exchange.passed:
            yield f"the scenario's {exchange.name} is said to have failed"
    yield from broken_links(predicate)
    yield from broken_times(predicate)


def claims(predicate: Predicate) -> Iterator[str]:
    """Yield the claims of the transcript about its own facts that they do not show."""
    for entry in predicate.probes:
        rule = PROBES.get(entry.name)
        if rule is None:
            continue  # completeness has it
        verdict = rule.judge(entry.evidence)
        if (entry.status == "passed") != verdict.ok:
            judged = "holds" if verdict.ok else f"does not hold: {verdict.reason}"
            yield f"the probe {entry.name} is said to have {entry.status}, its evidence {judged}"
        if entry.mandatory != mandatory(entry.name, predicate.target, predicate.profile):
            yield f"the probe {entry.name} is wrongly said to be mandatory or not"
    for exchange in predicate.scenario:
        verdict = scenario.judge_exchange(exchange)
        if exchange.passed and not verdict.ok:
            yield f"the scenario's {exchange.name} is said to have passed: {verdict.reason}"
    yield from _gate_claims(predicate)
    yield from _repetitions(predicate)


def _entry_problem(entry: Probe, rule: ProbeRule) -> str | None:
    if entry.mode != "observed":
        return f"the probe {entry.name} was {entry.mode}, not observed"
    verdict = rule.judge(entry.evidence)
    if not verdict.ok:
        # A probe that saw nothing says why itself.
        said = entry.reason if entry.reason and not entry.evidence else verdict.reason
        return f"the probe {entry.name} does not hold: {said}"
    if entry.status != "passed":
        return f"the probe {entry.name} is said to have {entry.status}"
    return None


def _probe_problem(predicate: Predicate, name: str) -> str | None:
    entries = [entry for entry in predicate.probes if entry.name == name]
    if len(entries) != 1:
        return f"the probe {name} is {f'there {len(entries)} times' if entries else 'missing'}"
    rule = PROBES.get(name)
    return f"no rule judges the probe {name}" if rule is None else _entry_problem(entries[0], rule)


def _gate_claims(predicate: Predicate) -> Iterator[str]:
    found = Counter(entry.name for entry in predicate.gates)
    for name in GATES:
        if found[name] != 1:
            yield f"the gate {name} is {f'there {found[name]} times' if found[name] else 'missing'}"
    for entry in predicate.gates:
        verdict = gate(predicate, entry.name)
        if entry.met != verdict.ok:
            judged = "is" if verdict.ok else f"is not: {verdict.reason}"
            said = "met" if entry.met else "not met"
            yield f"the gate {entry.name} is said to be {said}; by the evidence it {judged}"


def _repetitions(predicate: Predicate) -> Iterator[str]:
    """Yield the fields repeated outside the evidence for readers that differ from it."""
    evidence = {entry.name: entry.evidence for entry in predicate.probes}
    shown = predicate.quarantine.model_dump(mode="json", by_alias=True, exclude_unset=True)
    seen = evidence.get("quarantine.outbound", {})
    for field in ("interfaces", "attempts"):
        if shown[field] != seen.get(field, []):
            yield f"quarantine.{field} is not what the probe quarantine.outbound saw"
    if "mode" in seen and shown["mode"] != seen["mode"]:
        yield "quarantine.mode is not what the probe quarantine.outbound saw"
    if predicate.quarantine.met != gate(predicate, "hermetic").ok:
        yield "quarantine.met is not what the gate hermetic is by the evidence"
    chain = evidence.get("audit.chain", {})
    head = {name: chain.get(name) for name in ("count", "head")} if "head" in chain else None
    if (predicate.audit and predicate.audit.model_dump(mode="json")) != head:
        yield "audit is not what the probe audit.chain saw"
