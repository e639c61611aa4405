"""age keys: generation, default place, public keys of a key file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, InternalError, PrerequisiteError
from agency.paths import state_dir
from agency.programs import ProgramError, find_program, run_program
from agency.secrets.values import SecretValue

KEY_VARIABLE = "SOPS_AGE_KEY_FILE"
HINT = "install age, which has age-keygen (Debian and nixpkgs: the package age)"
TIMEOUT_S = 30
_PUBLIC = re.compile(r"^# public key: (age1\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AgeKey:
    """A key pair: `identity` is the text of the key file, `recipient` the public key."""

    identity: SecretValue
    recipient: str


def new_key_file(instance: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the default path of a new instance's private key, below the state directory."""
    return state_dir(environ) / instance / "age.key"


def new_key() -> AgeKey:
    """Make a key pair in memory.

    Raises:
        PrerequisiteError: age-keygen is not installed.
    """
    program = find_program("age-keygen", hint=HINT)
    identity = run_program([program], timeout=TIMEOUT_S).decode()
    found = _PUBLIC.search(identity)
    if found is None:
        raise InternalError("age-keygen printed no public key", where=program)
    return AgeKey(SecretValue(identity), found[1])


def public_keys_of(identities: SecretValue) -> frozenset[str]:
    """Return the public keys of identities, one a line.

    Raises:
        PrerequisiteError: age is not installed.
        BadInputError: age cannot read the identities.
    """
    program = find_program("age-keygen", hint=HINT)
    try:
        given = identities.reveal().encode()
        environment = {"PATH": os.environ["PATH"]} if "PATH" in os.environ else {}
        # Without the rest, in which a key may be ($SOPS_AGE_KEY).
        output = run_program([program, "-y"], timeout=TIMEOUT_S, stdin=given, env=environment)
    except ProgramError:
        # Without the cause: the program's message may quote a bad line.
        raise BadInputError(
            "is not a readable age key file: an identity in it is damaged",
            hint="name the file that age-keygen made",
        ) from None
    return frozenset(output.decode().split())


def store_key(key: AgeKey, key_file: Path) -> None:
    """Write a key file (mode 0600, its directory 0700); an existing one is never replaced.

    Raises:
        BadInputError: the file exists.
        PrerequisiteError: the file cannot be written; no partial file remains.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(key_file, flags, 0o600)
    except FileExistsError:
        raise key_exists(key_file) from None
    except OSError as error:
        raise _cannot_write(key_file, error) from error
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(key.identity.reveal().encode())
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        key_file.unlink(missing_ok=True)
        raise _cannot_write(key_file, error) from error
    except BaseException:
        key_file.unlink(missing_ok=True)
        raise


def _cannot_write(key_file: Path, error: OSError) -> PrerequisiteError:
    return PrerequisiteError(
        f"cannot write the age key: {error.strerror or error}",
        where=str(key_file),
        hint="name a place that you can write with --age-key",
    )


def key_exists(key_file: Path) -> BadInputError:
    """Make the error that refuses to replace a key file."""
    return BadInputError(
        "an age key exists already; it is never replaced",
        where=str(key_file),
        hint="name another place with --age-key, or move that key away if nothing needs it",
    )
