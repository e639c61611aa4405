"""Generators of secrets. The caller passes the source of randomness; tests pass a fixed one."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agency.errors import InternalError
from agency.secrets.classes import Generator
from agency.secrets.values import SecretValue

Entropy = Callable[[int], bytes]  # a number of bytes -> that many random bytes

# 32 characters, so that a byte's lower five bits choose evenly; none can be misread.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def _token(entropy: Entropy) -> str:
    return base64.urlsafe_b64encode(entropy(32)).decode().rstrip("=")


def _hex(entropy: Entropy) -> str:
    return entropy(64).hex()


def _password(entropy: Entropy) -> str:
    return "".join(_ALPHABET[byte % 32] for byte in entropy(24))


def _ed25519(entropy: Entropy) -> str:
    key = Ed25519PrivateKey.from_private_bytes(entropy(32))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _rsa(_: Entropy) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _ssh(entropy: Entropy) -> str:
    key = Ed25519PrivateKey.from_private_bytes(entropy(32))
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _synapse(entropy: Entropy) -> str:
    version = "".join(_ALPHABET[byte % 32] for byte in entropy(4))
    seed = base64.b64encode(entropy(32)).decode().rstrip("=")
    return f"ed25519 a_{version} {seed}"


_MAKERS: dict[Generator, Callable[[Entropy], str]] = {
    Generator.TOKEN: _token,
    Generator.HEX: _hex,
    Generator.PASSWORD: _password,
    Generator.ED25519: _ed25519,
    Generator.RSA: _rsa,
    Generator.SSH: _ssh,
    Generator.SYNAPSE: _synapse,
}


def generate(generator: Generator, entropy: Entropy = secrets.token_bytes) -> SecretValue:
    """Generate a secret. RSA keys take their randomness from the cryptography library.

    Raises:
        InternalError: the secret is external; an operator supplies it.
    """
    maker = _MAKERS.get(generator)
    if maker is None:
        raise InternalError(f"a secret of kind {generator.value} cannot be generated")
    return SecretValue(maker(entropy))
