"""No byte of the file can be changed unnoticed, unless it changes nothing for any JSON reader."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency.transcript.rules.v2.model import Statement
from agency.transcript.signing import sign
from agency.transcript.verification import Report, verify


@pytest.fixture(scope="module")
def envelope(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    return sign(statement, key)


def _same_json(before: bytes, after: bytes) -> bool:
    """Whether a JSON reader sees the same envelope."""
    try:
        return bool(json.loads(before) == json.loads(after))
    except ValueError:
        return False


def _same_verdict(report: Report, original: Report) -> bool:
    return report.ok and report.statement == original.statement


@settings(max_examples=600, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(place=0.0, flip=1)
@example(place=0.999999, flip=2)
def test_a_flipped_byte(place: float, flip: int, envelope: bytes, pem: bytes) -> None:
    index = int(place * len(envelope))
    changed = bytearray(envelope)
    changed[index] ^= flip
    report = verify(bytes(changed), pem)
    if report.ok:
        assert _same_json(envelope, bytes(changed))
        assert _same_verdict(report, verify(envelope, pem))
    else:
        assert report.refused_by in ("envelope", "one-signature", "signature", "payload-type")
        assert not report.authentic


def test_every_bit_outside_the_payload_once(envelope: bytes, pem: bytes) -> None:
    begin = envelope.index(b'"payload":"') + len(b'"payload":"')
    end = envelope.index(b'"', begin)
    accepted = []
    for index in [*range(begin + 4), *range(end - 4, len(envelope))]:
        for bit in range(8):
            changed = bytearray(envelope)
            changed[index] ^= 1 << bit
            if verify(bytes(changed), pem).ok:
                accepted.append((index, bit))
    assert accepted == []


def test_white_space_around_and_inside_the_envelope_changes_nothing(
    envelope: bytes, pem: bytes
) -> None:
    original = verify(envelope, pem)
    for text in (
        json.dumps(json.loads(envelope), indent=4).encode(),
        b"\n \t" + envelope + b"\r\n",
    ):
        assert _same_verdict(verify(text, pem), original)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_without_an_exception(data: bytes, pem: bytes) -> None:
    assert not verify(data, pem).ok


@settings(max_examples=100, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_refused(cut: float, envelope: bytes, pem: bytes) -> None:
    assert not verify(envelope[: int(cut * (len(envelope) - 1))], pem).ok
