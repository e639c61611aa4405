"""Turning a record into the Statement that gets signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
from agency.transcript import PREDICATE_TYPE, STATEMENT_TYPE, Predicate, Statement, overall


@dataclass(frozen=True, slots=True)
class Facts:
    """What the transcript says beside the record: who ran what, when, of which source."""

    run: str
    started_at: str
    finished_at: str
    subjects: Mapping[str, Mapping[str, str]]  # name to digest set
    versions: Mapping[str, str]
    network: Quarantine


def statement(recorder: Recorder, facts: Facts, redactor: Redactor) -> Statement:
    """The Statement of a spin-up, every text of it redacted; its result is computed, not claimed.

    A secret that would have been in it makes the result FAILED: redaction mends the file, not the
    leak.
    """
    raw = _predicate(recorder, facts)
    clean = _redacted(raw, redactor)
    if clean != raw and clean["failure"] is None:
        message = "a secret was found in what was recorded; it has been redacted"
        clean["failure"] = {"step": WHOLE, "message": message, "logTail": []}
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
        "steps": [_step(step) for step in recorder.steps],
        "probes": [_probe(probe) for probe in recorder.probes],
        "scenario": [_utterance(entry) for entry in recorder.scenario],
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
        "failure": _failure(recorder.failure),
    }


def _hermetic(recorder: Recorder, network: Quarantine) -> Evidence:
    probe = next((p for p in recorder.probes if p.name == "quarantine.outbound"), None)
    met = probe is not None and probe.status == "passed"
    reason = "only loopback, and every outbound attempt failed"
    if not met:
        reason = network.reason or (probe.reason if probe else None) or "it was not observed"
    return {"name": "hermetic", "met": met, "reason": reason}


def _step(step: StepRecord) -> Evidence:
    entry: Evidence = {
        "name": step.name,
        "startedAt": step.started_at,
        "durationS": step.duration_s,
        "status": step.status,
    }
    if step.error is not None:
        entry |= {"error": step.error, "logTail": list(step.log_tail)}
    return entry


def _probe(probe: ProbeRecord) -> Evidence:
    entry: Evidence = {
        "name": probe.name,
        "mandatory": probe.mandatory,
        "mode": "observed",
        "status": probe.status,
        "at": probe.at,
        "durationS": probe.duration_s,
        "evidence": probe.evidence,
    }
    if probe.reason is not None:
        entry["reason"] = probe.reason
    return entry


def _utterance(entry: Utterance) -> Evidence:
    return asdict(entry)


def _failure(failure: Failure | None) -> Evidence | None:
    if failure is None:
        return None
    return {"step": failure.step, "message": failure.message, "logTail": list(failure.log_tail)}


def _redacted(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.redact(value)
    if isinstance(value, Mapping):
        return {redactor.redact(key): _redacted(item, redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redactor) for item in value]
    return value
