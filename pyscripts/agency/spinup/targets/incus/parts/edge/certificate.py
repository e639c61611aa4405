"""Certificates of one run: an authority that nobody else knows, and the wildcard certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(hours=6)
_SINCE = timedelta(minutes=5)  # clocks of two machines differ


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts: the authority, the chain (leaf first, without the authority), and its key."""

    authority: str
    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Issuer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_certificates(domain: str, now: datetime) -> Certificates:
    """Make an authority, one below it, and the certificate of a domain and all names in it.

    Those of apps under test are among them, so that it fits an instance that tests recipes, too.
    """
    until = now + VALID
    authority = _issue("root", None, now, until)
    intermediate = _issue("intermediate", authority, now, until)
    leaf = _issue(domain, intermediate, now, until, names=(domain, f"*.{domain}", f"*.ci.{domain}"))
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Certificates(authority.pem, leaf.pem + intermediate.pem, key.decode())


def _issue(
    name: str,
    issuer: _Issuer | None,
    now: datetime,
    until: datetime,
    *,
    names: tuple[str, ...] = (),
) -> _Issuer:
    """Issue a certificate: for names of hosts, or else for an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    common = name if names else f"spin-up {name}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, until) - _SINCE)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        sites = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(sites, critical=False)
        builder = builder.add_extension(server, critical=False)
    return _Issuer(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
