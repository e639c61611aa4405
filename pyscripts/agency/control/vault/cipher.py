"""Encryption of one value: AES-256-GCM, bound to the secret's name, type and version.

Source: NIST SP 800-38D; a nonce of 96 random bits for each encryption, far fewer than 2^32 a key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agency.canonical import canonical_json
from agency.control.vault.keys import Keyring
from agency.errors import AgencyError
from agency.secrets import VAULT_MASTER_KEY, SecretValue

Entropy = Callable[[int], bytes]  # a number of bytes -> that many random bytes

_NONCE_BYTES = 12


class VaultError(AgencyError):
    """Error of a vault that cannot be read or trusted."""


class TamperedError(VaultError):
    """A stored value that the control plane did not store there."""


class KeyLostError(VaultError):
    """A stored value that is encrypted with a master key that is not loaded."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Owner of a value; it decrypts as nothing else."""

    name: str
    type: str
    version: int

    def bound(self, key_id: str) -> bytes:
        """Return the associated data; no two identities have the same."""
        said = {"secret": self.name, "type": self.type, "version": self.version, "key": key_id}
        return canonical_json(said)


@dataclass(frozen=True, slots=True)
class Box:
    """An encrypted value as it is stored: key id, nonce in hexadecimal, ciphertext in base64."""

    key_id: str
    nonce: str
    ciphertext: str


def encrypt(keys: Keyring, identity: Identity, value: SecretValue, entropy: Entropy) -> Box:
    """Encrypt a value with the newest master key."""
    key, nonce = keys.newest, entropy(_NONCE_BYTES)
    made = AESGCM(key.encrypting).encrypt(nonce, value.reveal().encode(), identity.bound(key.id))
    return Box(key.id, nonce.hex(), base64.b64encode(made).decode())


def decrypt(keys: Keyring, identity: Identity, box: Box) -> SecretValue:
    """Decrypt the value of a secret.

    Raises:
        KeyLostError: its master key is not loaded.
        TamperedError: it is not the value of this secret in this version, or was changed.
    """
    key = keys.by_id.get(box.key_id)
    if key is None:
        raise key_lost(box.key_id)
    try:
        nonce, ciphertext = bytes.fromhex(box.nonce), base64.b64decode(box.ciphertext)
        plain = AESGCM(key.encrypting).decrypt(nonce, ciphertext, identity.bound(key.id))
        return SecretValue(plain.decode())
    except (InvalidTag, ValueError, binascii.Error):
        # Without the cause: nothing of what was read is said.
        raise TamperedError(
            f"what is stored for {identity.name}, version {identity.version}, was changed outside "
            "the control plane, or belongs to another secret or version",
            hint=RESTORE,
        ) from None


RESTORE = "restore the database from a backup (docs/backup.md), and find out who can write to it"


def key_lost(key_id: str) -> KeyLostError:
    """Make the error for a master key that is not loaded."""
    return KeyLostError(
        f"the vault is encrypted with the master key {key_id}, which is not loaded",
        hint="put the former key behind the present one, with a space between them: "
        f"`agency secrets set {VAULT_MASTER_KEY}`; without it the values are lost",
    )
