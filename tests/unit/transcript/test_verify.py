"""Whatever is done to a transcript, verifying refuses it, and says which check did."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency.errors import BadInputError, UsageError
from agency.transcript.envelope import MAX_ENVELOPE_BYTES
from agency.transcript.rules.v2.judge import GATES
from agency.transcript.rules.v2.model import Statement
from agency.transcript.signing import PublicKeyError, private_pem, public_pem, sign
from agency.transcript.verification import (
    AUTHENTIC,
    JUDGED,
    Policy,
    Report,
    SubjectClaim,
    read_unchecked,
    verify,
)

Document = dict[str, Any]
Seal = Callable[[object], bytes]
SealPayload = Callable[..., bytes]


@pytest.fixture
def envelope(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    return sign(statement, key)


def statuses(report: Report) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def refused(report: Report, check: str, reason: str = "") -> None:
    """Refused by exactly this check first; what comes before passed, the order is fixed."""
    assert not report.ok
    assert report.refused_by == check, report.reasons
    assert tuple(c.name for c in report.checks) == AUTHENTIC + JUDGED
    assert any(reason in text for text in report.reasons), report.reasons
    before = (AUTHENTIC + JUDGED).index(check)
    assert {c.status for c in report.checks[:before]} <= {"passed"}
    if check in AUTHENTIC:
        assert not report.authentic
        assert {c.status for c in report.checks[before + 1 :]} == {"skipped"}
        assert report.verdict.startswith("not authentic")


def test_a_good_transcript_is_accepted(envelope: bytes, pem: bytes) -> None:
    report = verify(envelope, pem)
    assert report.ok
    assert report.reasons == ()
    assert report.verdict == "authentic, complete, and PASSED"
    assert set(statuses(report).values()) == {"passed"}


def test_the_tests_own_sealing_is_accepted_too(document: Document, seal: Seal, pem: bytes) -> None:
    assert verify(seal(document), pem).ok


def test_signing_twice_gives_the_same_bytes(statement: Statement, key: Ed25519PrivateKey) -> None:
    assert sign(statement, key) == sign(statement, key)


def test_another_key_is_refused(envelope: bytes) -> None:
    other = public_pem(Ed25519PrivateKey.generate())
    refused(verify(envelope, other), "signature", "another key's")


def test_a_key_inside_the_envelope_is_not_believed(
    document: Document, seal_payload: SealPayload, pem: bytes
) -> None:
    thief = Ed25519PrivateKey.generate()
    forged = json.loads(seal_payload(json.dumps(document).encode(), key=thief))
    forged["signatures"][0]["publicKey"] = public_pem(thief).decode()
    refused(verify(json.dumps(forged).encode(), pem), "envelope")
    del forged["signatures"][0]["publicKey"]
    refused(verify(json.dumps(forged).encode(), pem), "signature")


def test_a_key_id_which_nothing_protects_is_refused(envelope: bytes, pem: bytes) -> None:
    changed = json.loads(envelope)
    changed["signatures"][0]["keyid"] = "approved-by-alice"
    refused(verify(json.dumps(changed).encode(), pem), "envelope", "keyid")


def test_another_payload_under_the_old_signature_is_refused(
    envelope: bytes, document: Document, seal: Seal, pem: bytes
) -> None:
    document["predicate"]["run"] = "run-another"
    other = json.loads(seal(document))
    other["signatures"] = json.loads(envelope)["signatures"]
    refused(verify(json.dumps(other).encode(), pem), "signature")


def test_another_payload_type_is_refused(
    envelope: bytes, document: Document, seal_payload: SealPayload, pem: bytes
) -> None:
    changed = json.loads(envelope) | {"payloadType": "application/json"}
    refused(verify(json.dumps(changed).encode(), pem), "signature")
    resealed = seal_payload(json.dumps(document).encode(), payload_type="application/json")
    refused(verify(resealed, pem), "payload-type")


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_signature(count: int, envelope: bytes, pem: bytes) -> None:
    changed = json.loads(envelope)
    changed["signatures"] = changed["signatures"] * count
    refused(verify(json.dumps(changed).encode(), pem), "one-signature", f"{count} signatures")


def test_an_additional_signature_of_somebody_else_is_refused(
    envelope: bytes, document: Document, seal_payload: SealPayload, pem: bytes
) -> None:
    mine = json.loads(envelope)
    payload = base64.b64decode(mine["payload"])
    theirs = json.loads(seal_payload(payload, key=Ed25519PrivateKey.generate()))
    mine["signatures"] += theirs["signatures"]
    refused(verify(json.dumps(mine).encode(), pem), "one-signature")


@pytest.mark.parametrize("signature", ["", "AA==", base64.b64encode(bytes(64)).decode()])
def test_an_empty_or_short_signature_is_refused(
    signature: str, envelope: bytes, pem: bytes
) -> None:
    changed = json.loads(envelope)
    changed["signatures"][0]["sig"] = signature
    refused(verify(json.dumps(changed).encode(), pem), "signature")


def test_a_huge_file_is_refused_unread(pem: bytes) -> None:
    refused(verify(b"[" * (MAX_ENVELOPE_BYTES + 1), pem), "size", "16 MiB")
    refused(verify(b"[" * MAX_ENVELOPE_BYTES, pem), "envelope")


def test_a_truncated_file_is_refused(envelope: bytes, pem: bytes) -> None:
    for length in (0, 1, len(envelope) // 2, len(envelope) - 3):
        refused(verify(envelope[:length], pem), "envelope")


def test_something_after_the_envelope_is_refused(envelope: bytes, pem: bytes) -> None:
    refused(verify(envelope + b"{}", pem), "envelope")


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"{}",
        b'{"payload": "", "payloadType": "", "signatures": null}',
        b'{"payload": 1, "payloadType": "", "signatures": []}',
        b'{"payload": "", "payloadType": "", "signatures": [{"sig": ""}]}',
        b'{"payload": "", "payloadType": "", "signatures": [], "more": 1}',
        b'{"payload": "", "payload": "", "payloadType": "", "signatures": []}',
        b'{"payload": "!", "payloadType": "", "signatures": []}',
        b'{"payload": "AB==", "payloadType": "", "signatures": []}',
        b'{"payload": "A A=", "payloadType": "", "signatures": []}',
        b'{"payload": "_-8=", "payloadType": "", "signatures": []}',
        b'{"payload": "", "payloadType": "", "signatures": NaN}',
        b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"payload": ' + b"9" * 5000 + b"}",
        "{}".encode("utf-16"),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_envelope_is_refused(data: bytes, pem: bytes) -> None:
    refused(verify(data, pem), "envelope")
    with pytest.raises(BadInputError, match="not a transcript"):
        read_unchecked(data, where="file")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"a":1,"a":1}', "comes twice"),
        (b'{"a": 1}', "canonical"),
        (b'{"b":1,"a":1}', "canonical"),
        (b'{"a":1.50}', "canonical"),
        (b'{"a":"\\u0061"}', "canonical"),
        (b'{"a":"\\ud800"}', "canonical"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":1e999}', "canonical"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b"9" * 5000, "digits"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_payload_that_can_be_read_in_two_ways_is_refused(
    payload: bytes, reason: str, seal_payload: SealPayload, pem: bytes
) -> None:
    refused(verify(seal_payload(payload), pem), "canonical", reason)


def test_a_duplicate_key_in_a_signed_statement_is_refused(
    document: Document, seal_payload: SealPayload, pem: bytes
) -> None:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert canonical.count('"result":"PASSED"') == 1
    twice = canonical.replace('"result":"PASSED"', '"result":"FAILED","result":"PASSED"')
    refused(verify(seal_payload(twice.encode()), pem), "canonical", "'result' comes twice")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("predicateType", None),
    ],
)
def test_another_type_of_statement_is_refused(
    name: str, value: Any, document: Document, seal: Seal, pem: bytes
) -> None:
    document[name] = value
    refused(verify(seal(document), pem), "predicate-type")


@pytest.mark.parametrize("value", [[], 7, "text", None, True])
def test_a_statement_that_is_no_object_is_refused(value: Any, seal: Seal, pem: bytes) -> None:
    refused(verify(seal(value), pem), "predicate-type")


def test_unknown_fields_are_refused(document: Document, seal: Seal, pem: bytes) -> None:
    document["predicate"]["approvedBy"] = "@alice:agency.example"
    refused(verify(seal(document), pem), "schema", "approvedBy")


def test_a_missing_field_is_refused(document: Document, seal: Seal, pem: bytes) -> None:
    del document["predicate"]["environment"]
    refused(verify(seal(document), pem), "schema", "environment")


def test_numbers_that_a_spin_up_does_not_write_are_refused(
    document: Document, seal: Seal, pem: bytes
) -> None:
    document["predicate"]["steps"][0]["durationS"] = 0.12345
    refused(verify(seal(document), pem), "schema", "numbers")


def test_evidence_nested_too_deeply_is_refused(document: Document, seal: Seal, pem: bytes) -> None:
    deep: Any = 1
    for _ in range(700):
        deep = [deep]
    document["predicate"]["probes"][0]["evidence"]["deep"] = deep
    assert not verify(seal(document), pem).authentic


def test_a_removed_mandatory_probe_is_refused(
    probe: str, gate: str | None, document: Document, seal: Seal, pem: bytes
) -> None:
    body = document["predicate"]
    body["probes"] = [p for p in body["probes"] if p["name"] != probe]
    if gate is not None:
        refused(verify(seal(document), pem), "claims", gate)
    else:
        refused(verify(seal(document), pem), "completeness", f"{probe} is missing")


def test_a_simulated_probe_is_refused(
    probe: str, gate: str | None, document: Document, seal: Seal, pem: bytes
) -> None:
    next(p for p in document["predicate"]["probes"] if p["name"] == probe)["mode"] = "simulated"
    # By a gate that says it is met.
    asked = gate is not None or probe in (*GATES["shop"], *GATES["control"])
    check = "claims" if asked else "evidence"
    refused(verify(seal(document), pem), check, f"{probe} was simulated, not observed")


def test_a_duplicated_probe_is_refused(
    probe: str, document: Document, seal: Seal, pem: bytes
) -> None:
    probes = document["predicate"]["probes"]
    probes.append(next(p for p in probes if p["name"] == probe))
    refused(verify(seal(document), pem), "completeness", f"{probe} is there 2 times")


def test_passed_signed_over_failed_evidence_is_refused(
    probe: str, document: Document, seal: Seal, pem: bytes
) -> None:
    entry = next(p for p in document["predicate"]["probes"] if p["name"] == probe)
    entry["evidence"] = {"status": "configured"}
    report = verify(seal(document), pem)
    refused(report, "claims", f"{probe} is said to have passed")
    assert report.authentic


def test_a_removed_failed_step_is_refused(
    failed_document: Document, document: Document, seal: Seal, pem: bytes
) -> None:
    document["predicate"]["steps"][4] |= {"status": "failed", "error": "no answer"}
    refused(verify(seal(document), pem), "evidence", "the step control was failed")
    del document["predicate"]["steps"][4]
    refused(verify(seal(document), pem), "completeness", "the steps are")


def test_a_failed_transcript_is_authentic_and_refused(
    failed_document: Document, seal: Seal, pem: bytes
) -> None:
    report = verify(seal(failed_document), pem)
    assert report.authentic
    assert not report.ok
    assert report.verdict == ("authentic, but the spin-up FAILED at step homeserver: port taken")
    assert statuses(report)["claims"] == "passed"
    assert statuses(report)["result"] == "failed"


def test_a_spin_up_that_failed_by_its_evidence_says_so(
    document: Document, seal: Seal, pem: bytes
) -> None:
    document["predicate"] |= {"result": "FAILED"}
    assert verify(seal(document), pem).verdict.endswith("FAILED without saying why")
    document["predicate"]["scenario"][0]["passed"] = False
    wanted = "FAILED because the scenario's command is said to have failed"
    assert verify(seal(document), pem).verdict.endswith(wanted)


def test_a_failed_transcript_that_says_passed_is_refused(
    failed_document: Document, seal: Seal, pem: bytes
) -> None:
    failed_document["predicate"]["result"] = "PASSED"
    report = verify(seal(failed_document), pem)
    assert statuses(report)["result"] == "failed"
    assert "its evidence says FAILED" in report.reasons[-1]


def test_good_evidence_that_says_failed_is_refused(
    document: Document, seal: Seal, pem: bytes
) -> None:
    document["predicate"]["result"] = "FAILED"
    refused(verify(seal(document), pem), "result", "it says FAILED, its evidence says PASSED")


def test_a_required_probe_and_gate(document: Document, seal: Seal, pem: bytes) -> None:
    policy = Policy(probes=("quarantine.outbound",), gates=("hermetic",))
    assert verify(seal(document), pem, policy=policy).ok
    seen = {"mode": "none", "interfaces": ["lo"], "attempts": []}
    body = document["predicate"]
    body["probes"][0] |= {"evidence": seen, "status": "failed"}
    body["quarantine"] = {**seen, "met": False, "reason": "not permitted"}
    body["gates"][0] |= {"met": False}
    assert verify(seal(document), pem).ok
    for wanted in (Policy(probes=policy.probes), Policy(gates=policy.gates)):
        refused(verify(seal(document), pem, policy=wanted), "required", "quarantine.outbound")
    refused(verify(seal(document), pem, policy=Policy(gates=("perfect",))), "required", "perfect")
    refused(
        verify(seal(document), pem, policy=Policy(probes=("forge.up",))), "required", "forge.up"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source=sha256:" + "a1" * 32, None),
        ("source=gitCommit:" + "b2" * 20, None),
        ("source=gitTree:" + "c3" * 20, None),
        ("instance=sha256:" + "d4" * 32, None),
        ("source=sha256:" + "a2" * 32, "not " + "a2" * 32),
        ("instance=gitCommit:" + "b2" * 20, "no digest gitCommit"),
        ("system=sha256:" + "d4" * 32, "no subject system"),
        ("source=md5:" + "b2" * 20, "no digest md5"),
    ],
)
def test_a_demanded_subject(
    text: str, reason: str | None, document: Document, seal: Seal, pem: bytes
) -> None:
    report = verify(seal(document), pem, policy=Policy(subjects=(SubjectClaim.parse(text),)))
    if reason is None:
        assert report.ok
    else:
        refused(report, "subjects", reason)


@pytest.mark.parametrize(
    "text",
    ["", "source", "source=", "source=sha256", "source=sha256:xyz", "source=sha256:" + "A1" * 32,
     "=sha256:" + "a1" * 32, "source=sha256:" + "a1" * 32 + "\n"],
)  # fmt: skip
def test_a_demand_written_wrongly_is_a_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="not a subject"):
        SubjectClaim.parse(text)


def test_a_private_key_is_not_taken_for_a_public_one(
    envelope: bytes, key: Ed25519PrivateKey
) -> None:
    with pytest.raises(PublicKeyError):
        verify(envelope, private_pem(key))


def test_many_reasons_are_bounded(document: Document, seal: Seal, pem: bytes) -> None:
    body = document["predicate"]
    body["probes"] = [{**body["probes"][0], "name": f"probe-{n}"} for n in range(500)]
    report = verify(seal(document), pem)
    assert all(len(check.reasons) <= 21 for check in report.checks)
    assert any("more" in reason for reason in report.reasons)
