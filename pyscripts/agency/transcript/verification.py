"""Verification of a transcript from the file, a public key, and the rules of its version alone.

The checks run in a fixed order. The first group says whether the file is authentic and readable; it
ends at the first failure. The second group judges the content; all of its checks run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError
from securesystemslib.dsse import Envelope as SignedEnvelope

from agency.errors import BadInputError, UsageError
from agency.transcript.demands import Demands
from agency.transcript.envelope import (
    MAX_ENVELOPE_BYTES,
    Envelope,
    UnreadableError,
    decode_base64,
    is_canonical,
    parse_canonical,
    parse_envelope,
)
from agency.transcript.problems import explain
from agency.transcript.signing import PAYLOAD_TYPE, fingerprint, load_public_key
from agency.transcript.versions import (
    VERSIONS,
    Predicate,
    Statement,
    UnknownVersionError,
    Version,
    version_of,
)

AUTHENTIC = (
    "size",
    "envelope",
    "one-signature",
    "signature",
    "payload-type",
    "canonical",
    "predicate-type",
    "schema",
)
JUDGED = ("subjects", "completeness", "claims", "evidence", "required", "result")
_SUBJECT = re.compile(r"(?P<name>[a-z]+)=(?P<algorithm>[A-Za-z0-9]+):(?P<value>[0-9a-f]{40,128})\Z")
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `status` is "passed", "failed", or "skipped" after an earlier failure."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectClaim:
    """A digest that a subject of the transcript must have."""

    name: str
    algorithm: str
    value: str

    @classmethod
    def parse(cls, text: str) -> SubjectClaim:
        """Parse `NAME=ALGORITHM:HEX`, as on the command line.

        Raises:
            UsageError: it is written otherwise.
        """
        found = _SUBJECT.match(text)
        if found is None:
            raise UsageError(
                f"not a subject: {text[:200]!r}",
                where="--subject",
                hint="write NAME=ALGORITHM:HEX, such as source=sha256:… or source=gitCommit:…",
            )
        return cls(**found.groupdict())


@dataclass(frozen=True, slots=True)
class Policy:
    """Demands of a verifier beyond the rules that always hold."""

    probes: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    subjects: tuple[SubjectClaim, ...] = ()
    about: Demands = field(default_factory=Demands)


@dataclass(frozen=True, slots=True)
class Report:
    """Findings of a verification. `statement` is there once the file is authentic and readable."""

    checks: tuple[Check, ...]
    statement: Statement | None = field(default=None, repr=False)
    key_sha256: str = ""

    @property
    def version(self) -> Version | None:
        """Version of the rules that the transcript was judged by, once it is readable."""
        return None if self.statement is None else version_of(self.statement.predicate_type)

    @property
    def authentic(self) -> bool:
        """True if the holder of the key signed exactly this, and it is a transcript."""
        return self.statement is not None

    @property
    def ok(self) -> bool:
        """True if every check passed."""
        return all(check.status == "passed" for check in self.checks)

    @property
    def refused_by(self) -> str | None:
        """Name of the first check that failed."""
        return next((check.name for check in self.checks if check.status == "failed"), None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for the refusal, each with its check."""
        return tuple(f"{check.name}: {reason}" for check in self.checks for reason in check.reasons)

    @property
    def verdict(self) -> str:
        """Outcome in one sentence."""
        if self.statement is None:
            return f"not authentic: {self.reasons[0]}"
        predicate = self.statement.predicate
        version = version_of(self.statement.predicate_type)
        if predicate.result == "FAILED":
            return f"authentic, but the spin-up FAILED {_why(version, predicate)}"
        if not self.ok:
            return f"authentic, but refused: {self.reasons[0]}"
        if version.judge.read_only(predicate):
            return "authentic, complete, and PASSED; read-only: no command was sent to the agency"
        return "authentic, complete, and PASSED"


def verify(envelope: bytes, public_pem: bytes, *, policy: Policy = Policy()) -> Report:
    """Check a transcript against a public key that the verifier trusts.

    It trusts no key, digest or verdict inside the file. The predicate type chooses the rules.

    Raises:
        PublicKeyError: `public_pem` is not an Ed25519 public key.
    """
    key = load_public_key(public_pem)
    checks: list[Check] = []
    try:
        statement = _read(envelope, key, checks)
    except _RefusedError as refusal:
        checks.append(Check(refusal.check, "failed", (str(refusal),)))
        left = AUTHENTIC[len(checks) :] + JUDGED
        skipped = (Check(name, "skipped") for name in left)
        return Report((*checks, *skipped), key_sha256=fingerprint(key))
    checks.extend(_judge(statement, policy, fingerprint(key)))
    return Report(tuple(checks), statement, fingerprint(key))


def read_unchecked(data: bytes, *, where: str) -> Statement:
    """Read the statement in an envelope without checking its signature.

    Raises:
        BadInputError: there is no statement in it.
    """
    try:
        return _read(data, None, [])
    except _RefusedError as refusal:
        raise BadInputError(
            f"not a transcript: {refusal.check}: {refusal}",
            where=where,
            hint="give the file that spinup_smoke wrote to --output",
        ) from None


class _RefusedError(Exception):
    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.check = check


def _read(data: bytes, key: Ed25519PublicKey | None, checks: list[Check]) -> Statement:
    """Read the statement in the envelope, and add a line to `checks` for each check that passed.

    Without a key the signature is not checked.
    """

    def passed(name: str) -> None:
        checks.append(Check(name, "passed"))

    if len(data) > MAX_ENVELOPE_BYTES:
        raise _RefusedError("size", f"more than {MAX_ENVELOPE_BYTES // 2**20} MiB")
    passed("size")
    try:
        envelope = parse_envelope(data)
        payload = decode_base64(envelope.payload)
        signatures = [decode_base64(entry.sig) for entry in envelope.signatures]
    except UnreadableError as error:
        raise _RefusedError("envelope", str(error)) from None
    passed("envelope")
    if len(signatures) != 1:
        raise _RefusedError("one-signature", f"there are {len(signatures)} signatures")
    passed("one-signature")
    if key is not None:
        _check_signature(key, envelope, payload, signatures[0])
    passed("signature")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _RefusedError("payload-type", f"the payload type is not {PAYLOAD_TYPE}")
    passed("payload-type")
    try:
        value = parse_canonical(payload)
    except UnreadableError as error:
        raise _RefusedError("canonical", str(error)) from None
    if not is_canonical(data, envelope) and _has_canonical_envelope(value):
        raise _RefusedError("canonical", "the envelope is not in canonical form and one line")
    passed("canonical")
    version = _named_version(value)
    passed("predicate-type")
    statement = _parse_statement(value, version)
    passed("schema")
    return statement


def _check_signature(
    key: Ed25519PublicKey, envelope: Envelope, payload: bytes, signature: bytes
) -> None:
    signed = SignedEnvelope(payload, envelope.payload_type, {}).pae()
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        raise _RefusedError(
            "signature", "not made by this key over this content: another key's, or changed"
        ) from None


def _has_canonical_envelope(value: object) -> bool:
    """Return whether a statement names rules by which the whole file has one form."""
    named = value.get("predicateType") if isinstance(value, dict) else None
    version = VERSIONS.get(named) if isinstance(named, str) else None
    return version is not None and version.canonical_envelope


def _named_version(value: object) -> Version:
    """Return the rules that a statement's predicate type names."""
    if not isinstance(value, dict) or value.get("_type") != _STATEMENT_TYPE:
        raise _RefusedError("predicate-type", "not an in-toto Statement v1")
    try:
        return version_of(value.get("predicateType"))
    except UnknownVersionError as error:
        advice = f"; {error.hint}" if error.hint else ""
        raise _RefusedError("predicate-type", f"{error.message}{advice}") from None


def _parse_statement(value: object, version: Version) -> Statement:
    try:
        statement = version.statement.model_validate(value)
    except ValidationError as error:
        raise _RefusedError("schema", explain(error)) from None
    except RecursionError:
        raise _RefusedError("schema", "nested too deeply") from None
    if statement.document() != value:
        raise _RefusedError("schema", "numbers or text that a spin-up does not write")
    return statement


def _judge(statement: Statement, policy: Policy, key_sha256: str) -> Iterator[Check]:
    predicate, version = statement.predicate, version_of(statement.predicate_type)
    judge = version.judge
    result, _ = judge.overall(predicate)
    broken = version.broken_subjects(statement)
    yield _check("subjects", (*broken, *_subject_problems(statement, policy.subjects)))
    yield _check("completeness", judge.completeness(predicate))
    yield _check("claims", judge.claims(predicate))
    yield _check("evidence", judge.shortcomings(predicate))
    unmet = (*_unmet(version, predicate, policy), *policy.about.unmet(predicate, key_sha256))
    yield _check("required", unmet)
    why = _why(version, predicate)
    wrong = [] if predicate.result == "PASSED" else [f"the spin-up FAILED {why}"]
    if predicate.result != result:
        wrong.append(f"it says {predicate.result}, its evidence says {result}")
    yield _check("result", wrong)


def _check(name: str, problems: Iterable[str]) -> Check:
    found = tuple(problems)
    if len(found) > _MAX_REASONS:
        found = (*found[:_MAX_REASONS], f"and {len(found) - _MAX_REASONS} more")
    return Check(name, "failed" if found else "passed", found)


def _subject_problems(statement: Statement, wanted: Sequence[SubjectClaim]) -> Iterator[str]:
    digests: dict[str, dict[str, str]] = {part.name: part.digest for part in statement.subject}
    for claim in wanted:
        has = digests.get(claim.name)
        if has is None:
            yield f"there is no subject {claim.name}"
        elif claim.algorithm not in has:
            yield f"the subject {claim.name} has no digest {claim.algorithm}"
        elif has[claim.algorithm] != claim.value:
            found = has[claim.algorithm]
            yield f"the {claim.algorithm} of {claim.name} is {found}, not {claim.value}"


def _unmet(version: Version, predicate: Predicate, policy: Policy) -> Iterator[str]:
    for name in policy.probes:
        verdict = version.judge.probe(predicate, name)
        if not verdict.ok:
            yield verdict.reason
    for name in policy.gates:
        verdict = version.judge.gate(predicate, name)
        if not verdict.ok:
            yield f"the gate {name} is not met: {verdict.reason}"


def _why(version: Version, predicate: Predicate) -> str:
    if predicate.failure is not None:
        return f"at step {predicate.failure.step}: {predicate.failure.message}"
    _, reasons = version.judge.overall(predicate)
    return f"because {reasons[0]}" if reasons else "without saying why"
