"""Signing of transcripts, and the key for it.

Sources: DSSE v1.0.2 (envelope, pre-authentication encoding), RFC 8032 (Ed25519), RFC 8410 (PKCS #8
and SubjectPublicKeyInfo for it).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope

# The package re-exports its public classes without __all__.
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from agency.canonical import canonical_json, sha256_hex
from agency.clock import new_id
from agency.errors import BadInputError, PrerequisiteError
from agency.transcript.versions import Statement

PAYLOAD_TYPE = "application/vnd.in-toto+json"
KEY_ID = ""
MAX_KEY_BYTES = 16 * 1024

# Source: RFC 8032, section 5.1; the points whose order divides the cofactor 8, by their y. For each
# of them there are signatures over anything that nobody needs a private key to make.
_P = 2**255 - 19
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _P - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    )
)
_MAKE_NEW = "move it away and a new key is made, or give it back its mode: chmod 600"


class KeyFileError(PrerequisiteError):
    """A signing key that must not, or cannot, be used."""


class PublicKeyError(BadInputError):
    """Bytes that are no Ed25519 public key."""


def load_key(pem: bytes) -> Ed25519PrivateKey:
    """Read an Ed25519 private key from unencrypted PKCS #8 PEM.

    Raises:
        KeyFileError: it is something else; the message does not show it.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Neither the text nor the library's message about it is passed on: it is a private key.
        raise KeyFileError("not an unencrypted PKCS #8 private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError("the private key is not an Ed25519 key")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the private key as unencrypted PKCS #8 PEM, which `load_key` reads."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the public half as SubjectPublicKeyInfo PEM, the file that verifiers are given."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public_key(pem: bytes) -> Ed25519PublicKey:
    """Read an Ed25519 public key from PEM.

    Raises:
        PublicKeyError: it is something else, or a key that protects nothing.
    """
    hint = "give the .pub file that was written beside the transcript, from a source that you trust"
    if b"PRIVATE KEY" in pem[:MAX_KEY_BYTES]:
        raise PublicKeyError(
            "this is a private key; verifying needs only the public one", hint=hint
        )
    try:
        key = load_pem_public_key(pem[:MAX_KEY_BYTES])
    except (ValueError, UnsupportedAlgorithm):
        raise PublicKeyError("not a public key in PEM", hint=hint) from None
    if not isinstance(key, Ed25519PublicKey):
        raise PublicKeyError("not an Ed25519 public key", hint=hint)
    y = int.from_bytes(key.public_bytes_raw(), "little") & (2**255 - 1)
    if y >= _P or y in _SMALL_ORDER:
        raise PublicKeyError("a weak key: anyone can make signatures that it accepts", hint=hint)
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo in DER, as OpenSSL prints it."""
    return sha256_hex(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Load the signing key at `path` (mode 0600, in a directory of mode 0700); make a missing one.

    Two processes that make it at the same time end up with the same key.

    Raises:
        KeyFileError: the file is a symbolic link, is another user's, or others may read it.
        PrerequisiteError: the place cannot be read or written.
    """
    try:
        _private_directory(path.parent)
        if not path.is_symlink() and not path.exists():
            _create(path)
        return load_key(_read_private(path))
    except KeyFileError as error:
        raise KeyFileError(error.message, where=str(path), hint=error.hint or _MAKE_NEW) from None
    except OSError as error:
        raise PrerequisiteError(
            f"the signing key: {error.strerror or error}",
            where=str(path),
            hint="check the directory's permissions and free space",
        ) from error


def _private_directory(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = directory.stat()
    if facts.st_uid != os.geteuid():
        raise KeyFileError("the key's directory belongs to another user")
    if facts.st_mode & 0o077:
        directory.chmod(0o700)


def _create(path: Path) -> None:
    """Write a new key to a temporary file, then link it to `path` unless a file is there by now."""
    temporary = path.with_name(new_id(f".{path.name}"))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(private_pem(Ed25519PrivateKey.generate()))
            handle.flush()
            os.fsync(handle.fileno())
        with suppress(FileExistsError):  # another process was faster: its key counts
            os.link(temporary, path, follow_symlinks=False)
    finally:
        temporary.unlink(missing_ok=True)


def _read_private(path: Path) -> bytes:
    if path.is_symlink():
        raise KeyFileError("the signing key is a symbolic link", hint="put the key itself there")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        facts = os.fstat(handle.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise KeyFileError("the signing key is not a regular file")
        if facts.st_uid != os.geteuid():
            raise KeyFileError("the signing key belongs to another user")
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            raise KeyFileError(f"others may use the signing key: its mode is {mode:04o}")
        return handle.read(MAX_KEY_BYTES)


def sign(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """Put the statement into a DSSE envelope with one signature, as one line of JSON.

    The key id is empty, as DSSE allows: libraries make ids from keys in ways that differ, and some
    skip a signature whose id is not their own.
    """
    public = {"public": key.public_key().public_bytes_raw().hex()}
    signer = CryptoSigner(key, SSlibKey(KEY_ID, "ed25519", "ed25519", public))
    envelope = Envelope(canonical_json(statement.document()), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict()) + b"\n"
