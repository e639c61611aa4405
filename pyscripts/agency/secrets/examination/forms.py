"""Forms of values: whether a value is one that its readers can use. No message quotes a value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from agency.secrets.classes import SecretSpec
from agency.secrets.redact import MIN_LENGTH
from agency.secrets.values import SecretValue

EXPIRES_SOON = timedelta(days=14)  # as the alert on the machine
_SYNAPSE = re.compile(r"ed25519 \S+ [A-Za-z0-9+/]{43}\Z")
_KEYS = re.compile(r"[A-Za-z0-9_-]{43}( [A-Za-z0-9_-]{43}){0,7}\Z")
_MANY_LINES = {"pem-private-key", "pem-certificates", "openssh-private-key", "docker-config-json"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a value. One that is not `fatal` is only worth knowing."""

    name: str
    message: str
    fatal: bool = True


def is_one_line(form: str) -> bool:
    """Return whether the values of a form are one line of text."""
    return form not in _MANY_LINES


def tidy(form: str, text: str) -> str:
    """Return a value that was brought in a file or by a pipe as it should be stored.

    A one-line form loses the end of the line, and PEM has one.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return text.rstrip("\n") if is_one_line(form) else text.rstrip("\n") + "\n"


def faults(
    specs: Mapping[str, SecretSpec], values: Mapping[str, SecretValue], now: datetime
) -> tuple[Fault, ...]:
    """Find the faults of values by the forms of their secrets, and of certificates with keys."""
    found: list[Fault] = []
    for name, value in sorted(values.items()):
        spec = specs.get(name)
        form = spec.form if spec is not None else ""
        found += (Fault(name, message) for message in _of_text(form, value.reveal()))
        if spec is not None and spec.private_key:
            found += _of_certificate(spec, value, values.get(spec.private_key), now)
    return tuple(found)


def _of_text(form: str, text: str) -> Iterator[str]:
    if len(text.strip()) < MIN_LENGTH:
        yield f"is shorter than {MIN_LENGTH} characters: logs could not be kept free of it"
        return
    if form and is_one_line(form):
        yield from _of_line(text)
        if form == "synapse-signing-key" and not _SYNAPSE.match(text.strip()):
            yield "is not a signing key in Synapse's one-line format"
        if form == "keys" and not _KEYS.match(text.strip()):
            yield "is not keys of 43 characters of URL-safe base64, with a space between two"
        return
    check = _CHECKS.get(form)
    reason = None if check is None else check(text)
    if reason is not None:
        yield reason


def _of_line(text: str) -> Iterator[str]:
    inner = text.rstrip("\r\n")
    if "\n" in inner or "\r" in inner:
        yield "has several lines, and its readers want one"
    elif inner != text:
        yield "ends with a line break, which is part of the value"
    elif text.strip() != text:
        yield "begins or ends with a space, which is part of the value"
    if any(ord(char) < 0x20 and char not in "\r\n" for char in text):
        yield "holds a control character"


def _private_key(text: str) -> str | None:
    try:
        load_pem_private_key(text.encode(), password=None)
    except TypeError:
        return "is a private key with a passphrase; store it unencrypted"
    except (ValueError, UnsupportedAlgorithm):
        return "is not a private key in PEM"
    return None


def _openssh_key(text: str) -> str | None:
    try:
        load_ssh_private_key(text.encode(), password=None)
    except TypeError:
        return "is a private key with a passphrase; store it unencrypted"
    except (ValueError, UnsupportedAlgorithm):
        return "is not a private key in OpenSSH's format"
    return None


def _certificates(text: str) -> str | None:
    return None if _chain(text) else "is not a chain of certificates in PEM"


def _docker_config(text: str) -> str | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON, as Docker's config.json is"
    is_config = isinstance(parsed, dict) and isinstance(parsed.get("auths"), dict)
    return None if is_config else 'is not a config.json of Docker: it has no "auths"'


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "pem-private-key": _private_key,
    "pem-certificates": _certificates,
    "openssh-private-key": _openssh_key,
    "docker-config-json": _docker_config,
}


def _chain(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return []


def _of_certificate(
    spec: SecretSpec, value: SecretValue, key: SecretValue | None, now: datetime
) -> Iterator[Fault]:
    chain = _chain(value.reveal())
    if not chain:
        return
    leaf = chain[0]
    for message in (*_of_pair(spec, leaf, key), *_of_order(chain), *_of_names(spec, leaf)):
        yield Fault(spec.name, message)
    ends = leaf.not_valid_after_utc
    if ends <= now:
        yield Fault(spec.name, f"expired on {ends:%Y-%m-%d}")
    elif ends - now < EXPIRES_SOON:
        yield Fault(spec.name, f"expires on {ends:%Y-%m-%d}", fatal=False)
    if leaf.not_valid_before_utc > now:
        yield Fault(spec.name, f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}")


def _of_pair(spec: SecretSpec, leaf: x509.Certificate, key: SecretValue | None) -> Iterator[str]:
    if key is None:
        return
    try:
        public = load_pem_private_key(key.reveal().encode(), password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return  # told as a fault of the key
    if _bytes(public) != _bytes(leaf.public_key()):
        yield f"its first certificate does not belong to the key {spec.private_key}"


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _of_order(chain: list[x509.Certificate]) -> Iterator[str]:
    for place, (one, issuer) in enumerate(pairwise(chain), start=1):
        if one.issuer != issuer.subject:
            yield f"certificate {place + 1} did not issue certificate {place}: put the leaf first"
            return


def _of_names(spec: SecretSpec, leaf: x509.Certificate) -> Iterator[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except (x509.ExtensionNotFound, ValueError):
        covered = set()
    missing = [host for host in spec.hosts if host not in covered]
    if missing:
        yield f"does not cover {', '.join(missing)}"
