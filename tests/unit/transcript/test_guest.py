"""The transcript of a guest: complete, about one machine, and about the system that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.rules.v2.subjects import system_digest
from agency.transcript.verification import Policy, verify

Document = dict[str, Any]
Seal = Callable[[object], bytes]


def evidence_of(document: Document, probe: str) -> Document:
    found: list[Document] = [p for p in document["predicate"]["probes"] if p["name"] == probe]
    evidence: Document = found[0]["evidence"]
    return evidence


def test_it_passes_with_every_probe_required(
    guest_document: Document, seal: Seal, pem: bytes
) -> None:
    mandatory = tuple(name for name, rule in judge.PROBES.items() if rule.mandatory_for("incus"))
    everything = Policy(probes=mandatory, gates=("hermetic",))
    report = verify(seal(guest_document), pem, policy=everything)
    assert report.ok, report.reasons


def test_the_guest_that_is_gone_is_that_of_the_run(guest_document: Document) -> None:
    assert judge.overall(Predicate.model_validate(guest_document["predicate"]))[0] == "PASSED"
    guest_document["predicate"]["run"] = "run-1111111111111111"
    result, reasons = judge.overall(Predicate.model_validate(guest_document["predicate"]))
    assert (result, reasons) == ("FAILED", ("guest.gone: not the guest of this run",))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["subject"].pop(),
        lambda document: document["subject"][-1]["digest"].update(sha256="00" * 32),
        lambda document: evidence_of(document, "guest.image").update(fingerprint="00" * 32),
        lambda document: evidence_of(document, "activation.first")["digests"].update(
            {"etc/passwd": "00" * 32}
        ),
    ],
    ids=["no system", "another system", "another image", "another file"],
)
def test_the_system_it_names_is_the_one_it_saw(
    change: Callable[[Document], object], guest_document: Document, seal: Seal, pem: bytes
) -> None:
    change(guest_document)
    report = verify(seal(guest_document), pem)
    assert report.refused_by == "subjects"


@pytest.mark.parametrize(
    ("name", "path", "value", "reason"),
    [
        ("units.state", ("units", 0, "name"), "nginx.service", "lacks what was started: "),
        ("units.state", ("units", 0, "restarts"), 6, "more than 5 restarts"),
        ("reboot.survived", ("bootIdBefore",), "00000009-1111-2222-3333-444444444444", "not the"),
        ("database.versions", ("controlSchema",), "0002", "not the schema"),
        ("audit.chain", ("count",), 21, "the audit log was longer before"),
        ("agents.audit", ("agents", 1, "name"), "tester", "nothing on record of developer"),
        ("agents.audit", ("agents", 0, "sequence"), 10, "longer when agents.audit looked"),
        ("reboot.survived", ("agentsAuditKept", 0, "name"), "tester", "lacks the log of pm"),
    ],
)
def test_what_was_seen_is_one_machine(
    name: str, path: tuple[str | int, ...], value: object, reason: str, guest_document: Document
) -> None:
    parent: Any = evidence_of(guest_document, name)
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    assert judge.PROBES[name].judge(evidence_of(guest_document, name)).ok, "alone it still holds"
    _, reasons = judge.overall(Predicate.model_validate(guest_document["predicate"]))
    assert reason in "\n".join(reasons)


LEFT_OUT = {"outcome": "skipped", "message": "this machine has no ip"}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "suite.results",
            lambda seen: seen["tests"][0].update(outcome="failed"),
            "ended as failed",
        ),
        (
            "suite.results",
            lambda seen: seen["tests"][0].update(outcome="skipped"),
            "without a reas",
        ),
        ("suite.results", lambda seen: seen["tests"].pop(), "none passed of "),
        ("suite.results", lambda seen: seen["tests"][0].update(LEFT_OUT), "nothing allows that"),
        ("guest.gone", lambda seen: seen.update(present=True), "must be what was asked for"),
        ("guest.gone", lambda seen: seen.update(imagesHalfMade=1), "must be 0"),
        ("guest.running", lambda seen: seen.update(networkDevices=["eth0"]), "networkDevices"),
        ("guest.running", lambda seen: seen.update(failedUnits=["x.service"]), "failedUnits"),
        (
            "activation.again",
            lambda seen: seen["invocationsAfter"].update({"agency-control.service": "f" * 32}),
            "started anew",
        ),
        (
            "activation.drift",
            lambda seen: seen["planted"][1].update(after="inactive (dead)"),
            "not as it was",
        ),
        (
            "activation.drift",
            lambda seen: seen["planted"][1].update(planted="active (running)"),
            "nothing was changed",
        ),
        ("activation.drift", lambda seen: seen.update(leftAfter=1), "must be 0"),
        ("reboot.survived", lambda seen: seen["kept"].update(head="00" * 32), "not the end"),
        (
            "reboot.survived",
            lambda seen: seen["agentsAuditKept"][1].update(verified=False),
            "agentsAuditKept.1.verified",
        ),
        (
            "agents.audit",
            lambda seen: seen["agents"][0].update(verified=False),
            "agents.0.verified: must be True",
        ),
        ("agents.audit", lambda seen: seen["agents"][1].update(name="pm"), "one comes twice"),
        ("agents.audit", lambda seen: seen["agents"][0].update(count=7), "more records than"),
        ("agents.audit", lambda seen: seen["appendOnly"].update(reason=None), "not said why"),
        (
            "reboot.survived",
            lambda seen: seen.update(bootIdAfter=seen["bootIdBefore"]),
            "did not boot anew",
        ),
        ("reboot.survived", lambda seen: seen["roomMembersAfter"].pop(), "not those from before"),
        ("resources.peak", lambda seen: seen.update(memoryPeakMb=1.5), "less than memoryMb"),
    ],
)
def test_what_went_wrong_does_not_hold(
    name: str, change: Callable[[Document], object], words: str, evidence: dict[str, Document]
) -> None:
    change(evidence[name])
    verdict = judge.PROBES[name].judge(evidence[name])
    assert not verdict.ok
    assert words in verdict.reason


NAR = f"sha256:{'0a' * 26}"
STORE = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz"


def on_nixos(document: Document) -> Document:
    """The same of a guest that boots NixOS."""
    image = evidence_of(document, "guest.image")
    image.update(system="nixos", built=f"{STORE}-tarball")
    del image["wheelhouse"], image["packages"]
    evidence_of(document, "guest.packages")["of"] = f"{STORE}-nixos-system-throwaway-26.11"
    for probe in ("activation.first", "activation.again"):
        seen = evidence_of(document, probe)
        seen.update(system=f"{STORE}-nixos-system-throwaway-26.11", systemDigest=NAR)
    digests = evidence_of(document, "activation.first")["digests"]
    document["subject"][-1]["digest"]["sha256"] = system_digest(image["fingerprint"], digests, NAR)
    return document


def test_a_guest_of_nixos_passes(guest_document: Document, seal: Seal, pem: bytes) -> None:
    report = verify(seal(on_nixos(guest_document)), pem)
    assert report.ok, report.reasons


def test_its_whole_system_is_what_the_subject_names(
    guest_document: Document, seal: Seal, pem: bytes
) -> None:
    document = on_nixos(guest_document)
    evidence_of(document, "activation.first")["systemDigest"] = f"sha256:{'1b' * 26}"
    assert verify(seal(document), pem).refused_by == "subjects"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: evidence_of(d, "guest.image").pop("built"), "built: which path"),
        (lambda d: evidence_of(d, "guest.image").update(built="/opt/x"), "a path of Nix's store"),
        (lambda d: evidence_of(d, "guest.image").update(system="debian"), "wheelhouse: is not"),
        (lambda d: evidence_of(d, "activation.first").pop("system"), "or lacks it"),
        (lambda d: evidence_of(d, "activation.first").update(systemDigest="0a"), "hash of a NAR"),
        (
            lambda d: evidence_of(d, "guest.packages").update(of=f"{STORE}-nixos-system-image"),
            "not the system whose packages",
        ),
        (
            lambda d: evidence_of(d, "activation.again").update(systemDigest=f"sha256:{'1b' * 26}"),
            "activation.again: not that of activation.first",
        ),
    ],
)
def test_a_guest_of_nixos_shows_its_own_evidence(
    change: Callable[[Document], object], reason: str, guest_document: Document
) -> None:
    document = on_nixos(guest_document)
    change(document)
    _, reasons = judge.overall(Predicate.model_validate(document["predicate"]))
    assert reason in "\n".join(reasons)


def test_a_debian_names_no_whole_system(guest_document: Document) -> None:
    seen = evidence_of(guest_document, "activation.first")
    seen.update(system=f"{STORE}-nixos-system", systemDigest=NAR)
    _, reasons = judge.overall(Predicate.model_validate(guest_document["predicate"]))
    assert "where guest.image has no NixOS" in "\n".join(reasons)


def test_a_log_that_only_grows_needs_no_reason(evidence: dict[str, Document]) -> None:
    grows = {**evidence["agents.audit"], "appendOnly": {"value": True, "reason": None}}
    assert judge.PROBES["agents.audit"].judge(grows).ok


def test_a_kept_guest_is_said_to_be_there(evidence: dict[str, Document]) -> None:
    kept = {**evidence["guest.gone"], "present": True, "kept": True}
    assert judge.PROBES["guest.gone"].judge(kept).ok
