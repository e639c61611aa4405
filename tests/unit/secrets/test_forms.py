"""Values by their forms: what their readers cannot use is told, and no value is quoted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from agency.secrets import names
from agency.secrets.catalogue import load_catalogue
from agency.secrets.classes import SecretClass
from agency.secrets.examination.forms import faults, tidy
from agency.secrets.generators import generate
from agency.secrets.values import SecretValue

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOSTS = ("a.example", "*.a.example")
CERTIFICATE = names.WILDCARD_CERTIFICATE
KEY = names.WILDCARD_CERTIFICATE_KEY
SPECS = {
    CERTIFICATE: replace(load_catalogue().spec(CERTIFICATE, domains="a.example"), hosts=HOSTS),
    KEY: load_catalogue().spec(KEY, domains="a.example"),
}

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: Key, passphrase: bytes = b"") -> str:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def certificate(
    key: Key,
    *,
    subject: str = "leaf",
    issuer: str = "root",
    hosts: tuple[str, ...] = HOSTS,
    begins: datetime = NOW - timedelta(days=30),
    days: int = 90,
) -> str:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def told(text: str, key: str | None, now: datetime = NOW) -> list[str]:
    values = {CERTIFICATE: SecretValue(text)}
    if key is not None:
        values[KEY] = SecretValue(key)
    return [fault.message for fault in faults(SPECS, values, now)]


class TestCertificate:
    """Pair, names, dates and order."""

    def test_good_chain(self) -> None:
        key = new_key()
        chain = certificate(key) + certificate(new_key(), subject="root", issuer="root")
        assert told(chain, pem(key)) == []

    def test_key_of_another(self) -> None:
        (message,) = told(certificate(new_key()), pem(new_key()))
        assert "does not belong to the key wildcard-certificate-key" in message

    def test_leaf_last(self) -> None:
        key = new_key()
        chain = certificate(new_key(), subject="root", issuer="root", hosts=HOSTS)
        messages = told(chain + certificate(key), pem(key))
        assert any("put the leaf first" in message for message in messages)

    def test_missing_name(self) -> None:
        key = new_key()
        assert told(certificate(key, hosts=("a.example",)), pem(key)) == [
            "does not cover *.a.example"
        ]

    @pytest.mark.parametrize(
        ("day", "words"),
        [
            (datetime(2027, 1, 1, tzinfo=UTC), "expired on 2026-07-31"),
            (datetime(2026, 7, 25, tzinfo=UTC), "expires on 2026-07-31"),
            (datetime(2026, 4, 1, tzinfo=UTC), "is not valid before 2026-05-02"),
        ],
    )
    def test_dates(self, day: datetime, words: str) -> None:
        key = new_key()
        (message,) = told(certificate(key), pem(key), day)
        assert words in message

    def test_soon_is_no_fatal_fault(self) -> None:
        key = new_key()
        values = {CERTIFICATE: SecretValue(certificate(key)), KEY: SecretValue(pem(key))}
        (fault,) = faults(SPECS, values, datetime(2026, 7, 25, tzinfo=UTC))
        assert not fault.fatal

    @pytest.mark.parametrize("text", ["garbage garbage", "", pem(new_key())])
    def test_no_certificate(self, text: str) -> None:
        assert told(text, None) != []

    def test_key_with_a_passphrase(self) -> None:
        key = new_key()
        assert told(certificate(key), pem(key, b"hunter2")) == [
            "is a private key with a passphrase; store it unencrypted"
        ]


def test_generated_values_have_no_fault() -> None:
    known = load_catalogue()
    for name, entry in known.secrets.items():
        if entry.cls in {SecretClass.A2, SecretClass.B}:
            spec = known.spec(name, agent="pm", engine="drone", domains="x")
            value = generate(spec.generator)
            assert faults({spec.name: spec}, {spec.name: value}, NOW) == (), name


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (names.MATRIX_AS_TOKEN, "hunter2hunter2\n", "ends with a line break"),
        (names.MATRIX_AS_TOKEN, "hunter2\nhunter2", "several lines"),
        (names.MATRIX_AS_TOKEN, " hunter2hunter2", "a space"),
        (names.MATRIX_AS_TOKEN, "hunter2\x00hunter2", "control character"),
        (names.MATRIX_AS_TOKEN, "ab", "shorter than"),
        (names.REGISTRY_CREDENTIALS, "hunter2", "is not JSON"),
        (names.REGISTRY_CREDENTIALS, "[" * 100_000, "is not JSON"),
        (names.REGISTRY_CREDENTIALS, '{"hunter2": 1}', "auths"),
        (names.TRANSCRIPT_SIGNING_KEY, "hunter2hunter2", "not a private key in PEM"),
        (names.MATRIX_SIGNING_KEY, "hunter2hunter2", "Synapse"),
    ],
)
def test_fault_is_named_without_the_value(name: str, text: str, words: str) -> None:
    spec = load_catalogue().spec(name)
    messages = [fault.message for fault in faults({name: spec}, {name: SecretValue(text)}, NOW)]
    assert any(words in message for message in messages)
    assert "hunter2" not in "".join(messages)


def test_unknown_name_is_only_measured() -> None:
    assert faults({}, {"left-over": SecretValue("two\nlines\n")}, NOW) == ()
    assert len(faults({}, {"left-over": SecretValue("ab")}, NOW)) == 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_tidy(end: str) -> None:
    assert tidy("token", f"\ufeffabc{end}") == "abc"
    assert tidy("pem-private-key", f"abc\r\ndef{end}") == "abc\ndef\n"
