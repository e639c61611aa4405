"""Turning a record into the Statement that gets signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from agency.quarantine import Quarantine
from agency.secrets import Redactor
from agency.spinup.environment import environment
from agency.spinup.record import (
    WHOLE,
    Evidence,
    Failure,
    ProbeRecord,
    Recorder,
    StepRecord,
    Utterance,
)
from agency.transcript import PREDICATE_TYPE, STATEMENT_TYPE, Predicate, Statement, gate, overall

# Gates that are judged by what will be signed, and why they are met.
_MET = {
    "control": "one approval granted, one secret delivered, one agent respawned",
    "shop": "every service that the instance enables was shown",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of the transcript beside the record: run, times, sources, versions, network."""

    run: str
    started_at: str
    finished_at: str
    subjects: Mapping[str, Mapping[str, str]]  # name to digest set
    versions: Mapping[str, str]
    network: Quarantine
    challenge: str | None = None


def statement(recorder: Recorder, facts: Facts, redactor: Redactor) -> Statement:
    """Make the Statement of a spin-up, every text of it redacted; its result is computed.

    A secret that would have been in it makes the result FAILED: redaction mends the file, not the
    leak.
    """
    raw = _predicate(recorder, facts)
    clean = _redacted(raw, redactor)
    if clean != raw and clean["failure"] is None:
        message = "a secret was found in what was recorded; it has been redacted"
        clean["failure"] = {"step": WHOLE, "message": message, "logTail": []}
    draft = Predicate.model_validate({**clean, "result": "FAILED"})
    clean["gates"] = [clean["gates"][0], *(_gate(draft, name) for name in _MET)]
    draft = Predicate.model_validate({**clean, "result": "FAILED"})
    result, _ = overall(draft)
    return Statement.model_validate(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": dict(digest)} for name, digest in facts.subjects.items()
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {**clean, "result": result},
        }
    )


def _predicate(recorder: Recorder, facts: Facts) -> Evidence:
    evidence = {probe.name: probe.evidence for probe in recorder.probes}
    outbound = evidence.get("quarantine.outbound", {})
    chain = evidence.get("audit.chain", {})
    hermetic = _hermetic(recorder, facts.network)
    return {
        "run": facts.run,
        "target": recorder.target,
        "startedAt": facts.started_at,
        "finishedAt": facts.finished_at,
        "environment": environment(),
        "steps": [_entry(step) for step in recorder.steps],
        "probes": [_entry(probe) for probe in recorder.probes],
        "scenario": [_entry(said) for said in recorder.scenario],
        "versions": {**facts.versions, **recorder.versions},
        "quarantine": {
            "mode": facts.network.mode,
            "interfaces": outbound.get("interfaces", []),
            "attempts": outbound.get("attempts", []),
            "met": hermetic["met"],
            "reason": hermetic["reason"],
        },
        "gates": [hermetic],
        "audit": {"count": chain["count"], "head": chain["head"]} if "head" in chain else None,
        "failure": recorder.failure and _entry(recorder.failure),
        **({} if facts.challenge is None else {"challenge": facts.challenge}),
        **({"profile": list(recorder.profile)} if recorder.profile else {}),
    }


def _hermetic(recorder: Recorder, network: Quarantine) -> Evidence:
    probe = next((p for p in recorder.probes if p.name == "quarantine.outbound"), None)
    met = probe is not None and probe.status == "passed"
    reason = "only loopback, and every outbound attempt failed"
    if not met:
        reason = network.reason or (probe.reason if probe else None) or "it was not observed"
    return {"name": "hermetic", "met": met, "reason": reason}


def _gate(draft: Predicate, name: str) -> Evidence:
    """Judge a gate by what will be signed."""
    verdict = gate(draft, name)
    return {"name": name, "met": verdict.ok, "reason": verdict.reason or _MET[name]}


def _entry(record: StepRecord | ProbeRecord | Utterance | Failure) -> Evidence:
    """Describe a record as the transcript holds it; fields without a value are left out."""
    return {to_camel(name): value for name, value in asdict(record).items() if value is not None}


def _redacted(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.redact(value)
    if isinstance(value, Mapping):
        return {redactor.redact(key): _redacted(item, redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redactor) for item in value]
    return value
