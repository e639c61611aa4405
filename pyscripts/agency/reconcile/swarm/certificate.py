"""Wildcard certificate from the instance, and the check that it can serve a host. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agency.canonical import sha256_hex
from agency.errors import BadInputError
from agency.secrets import WILDCARD_CERTIFICATE as _CERTIFICATE
from agency.secrets import WILDCARD_CERTIFICATE_KEY as _KEY
from agency.secrets import SecretValue

_SEE = "bring the full chain, leaf first, and the key that belongs to it; see docs/secrets.md"


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Certificate chain and its private key, both PEM."""

    chain: SecretValue
    key: SecretValue

    def check(self, host: str, now: float) -> None:
        """Check that it is valid for `host` at `now` (seconds since the epoch), and has its key.

        Raises:
            BadInputError: it is not.
        """
        leaf = self._leaf()
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if public != self._key_bytes():
            raise BadInputError("the key does not belong to the certificate", where=_KEY, hint=_SEE)
        moment = datetime.fromtimestamp(now, tz=UTC)
        if moment > leaf.not_valid_after_utc:
            until = leaf.not_valid_after_utc.isoformat()
            raise BadInputError(f"expired at {until}", where=_CERTIFICATE, hint=_SEE)
        if moment < leaf.not_valid_before_utc:
            since = leaf.not_valid_before_utc.isoformat()
            raise BadInputError(f"not valid before {since}", where=_CERTIFICATE, hint=_SEE)
        names = _names(leaf)
        if not any(covers(name, host) for name in names):
            told = ", ".join(names) or "no name"
            raise BadInputError(f"is for {told}, not for {host}", where=_CERTIFICATE, hint=_SEE)

    def _leaf(self) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(self.chain.reveal().encode())
        except ValueError:
            raise BadInputError("not a PEM certificate", where=_CERTIFICATE, hint=_SEE) from None

    def _key_bytes(self) -> bytes:
        """Return the public half of the private key."""
        try:
            key = serialization.load_pem_private_key(self.key.reveal().encode(), password=None)
        except (ValueError, TypeError):
            raise BadInputError("not an unencrypted PEM key", where=_KEY, hint=_SEE) from None
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def versions(self) -> tuple[str, str]:
        """Compute versions of the chain and of the key from their content: `v` and 8 hex digits.

        32 bits of a digest do not reveal a private key.
        """
        return _version(self.chain), _version(self.key)


def _version(value: SecretValue) -> str:
    return "v" + sha256_hex(value.reveal().encode())[:8]


def covers(name: str, host: str) -> bool:
    """Return whether a name in a certificate covers `host`; a wildcard stands for one label.

    Source: RFC 6125, section 6.4.3.
    """
    name, host = name.lower(), host.lower()
    if name.startswith("*."):
        label, _, rest = host.partition(".")
        return bool(label) and rest == name[2:]
    return name == host


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.DNSName))
