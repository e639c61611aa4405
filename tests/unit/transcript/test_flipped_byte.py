"""No byte of the file can be changed, added or taken away unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency.transcript.rules.v2.model import Statement
from agency.transcript.signing import sign
from agency.transcript.verification import verify


@pytest.fixture(scope="module")
def envelope(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    return sign(statement, key)


@settings(max_examples=600, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(place=0.0, flip=1)
@example(place=0.999999, flip=2)
def test_a_flipped_byte(place: float, flip: int, envelope: bytes, pem: bytes) -> None:
    index = int(place * len(envelope))
    changed = bytearray(envelope)
    changed[index] ^= flip
    report = verify(bytes(changed), pem)
    assert not report.authentic
    where = ("envelope", "one-signature", "signature", "payload-type", "canonical")
    assert report.refused_by in where


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


WRITTEN_OTHERWISE = {
    "indented": lambda envelope: json.dumps(json.loads(envelope), indent=4).encode() + b"\n",
    "space before": lambda envelope: b" " + envelope,
    "space between": lambda envelope: envelope.replace(b'","', b'", "', 1),
    "no last line feed": lambda envelope: envelope[:-1],
    "two line feeds": lambda envelope: envelope + b"\n",
    "last line feed a space": lambda envelope: envelope[:-1] + b" ",
    "escaped key": lambda envelope: envelope.replace(b"payloadType", b"\\u0070ayloadType"),
    "other order": lambda envelope: (
        json.dumps(
            dict(reversed(json.loads(envelope).items())), separators=(",", ":"), sort_keys=False
        ).encode()
        + b"\n"
    ),
}


@pytest.mark.parametrize("way", WRITTEN_OTHERWISE)
def test_the_same_envelope_written_otherwise_is_refused(
    way: str, envelope: bytes, pem: bytes
) -> None:
    assert verify(envelope, pem).ok
    written = WRITTEN_OTHERWISE[way](envelope)
    assert json.loads(written) == json.loads(envelope)
    report = verify(written, pem)
    assert report.refused_by == "canonical"
    assert not report.authentic


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1), text=st.sampled_from([b" ", b"\n", b"\t", b"0", b'"']))
def test_an_inserted_byte(place: float, text: bytes, envelope: bytes, pem: bytes) -> None:
    index = int(place * len(envelope))
    assert not verify(envelope[:index] + text + envelope[index:], pem).ok


def test_what_was_released_keeps_its_meaning_however_it_is_written() -> None:
    samples = Path(__file__).parent / "samples" / "v1"
    for sample in samples.glob("*.json"):
        public = sample.with_suffix(".pub").read_bytes()
        assert verify(sample.read_bytes(), public).ok
        assert verify(b" " + sample.read_bytes(), public).ok


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_without_an_exception(data: bytes, pem: bytes) -> None:
    assert not verify(data, pem).ok


@settings(max_examples=100, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_refused(cut: float, envelope: bytes, pem: bytes) -> None:
    assert not verify(envelope[: int(cut * (len(envelope) - 1))], pem).ok
