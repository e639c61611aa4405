"""Master keys of the vault: the newest one writes, the older ones only read.

The credential holds keys of 43 characters of URL-safe base64, the newest first, with a space
between two. From each come a key that encrypts values and one that seals the register.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agency.canonical import sha256_hex
from agency.errors import PrerequisiteError
from agency.secrets import VAULT_MASTER_KEY, SecretValue

_BYTES = 32
_CHARACTERS = 43
_MOST = 8
_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master key: its id, which says nothing of it, and the keys that come from it."""

    id: str
    encrypting: bytes = field(repr=False)
    sealing: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master keys that are loaded, by id; `newest` writes."""

    newest: MasterKey
    by_id: Mapping[str, MasterKey] = field(repr=False)


def read_keyring(credential: SecretValue) -> Keyring:
    """Read the master keys from the credential.

    Raises:
        PrerequisiteError: it holds none, too many, or something that is no key.
    """
    words = credential.reveal().split()
    if not 0 < len(words) <= _MOST:
        raise _unusable(f"it holds {len(words)} keys, and may hold 1 to {_MOST}")
    keys = [_read(word) for word in words]
    return Keyring(keys[0], {key.id: key for key in keys})


def _read(word: str) -> MasterKey:
    try:
        raw = base64.urlsafe_b64decode(word + "=")
    except (binascii.Error, ValueError):
        raw = b""
    if len(word) != _CHARACTERS or len(raw) != _BYTES:
        # Without the cause: it would quote the key.
        raise _unusable(f"a key has {_CHARACTERS} characters of URL-safe base64")
    key_id = sha256_hex(b"agency vault key id\0" + raw)[:_ID_DIGITS]
    return MasterKey(key_id, _derive(raw, b"encrypt"), _derive(raw, b"seal"))


def _derive(raw: bytes, purpose: bytes) -> bytes:
    made = HKDF(SHA256(), length=_BYTES, salt=None, info=b"agency vault v1 " + purpose)
    return made.derive(raw)


def _unusable(reason: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"the vault's master key cannot be used: {reason}",
        where=f"credential {VAULT_MASTER_KEY}",
        hint=f"`agency secrets rotate {VAULT_MASTER_KEY}` puts a new key before the old ones",
    )
