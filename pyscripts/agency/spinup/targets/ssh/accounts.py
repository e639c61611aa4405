"""The passwords of the people who talk to a host's agency: a file that only its owner reads."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from agency import naming
from agency.errors import BadInputError, PrerequisiteError
from agency.instance import Instance
from agency.secrets import SecretValue
from agency.spinup.examination import OUTSIDER

_MAX_BYTES = 64 * 1024
_HINT = 'write {"@alice:DOMAIN": "PASSWORD", ...} into it, mode 0600'


def speakers(instance: Instance) -> tuple[str, str]:
    """Who talks: the first operator, and somebody who is none."""
    return instance.operators[0], naming.matrix_id(OUTSIDER, instance.domain)


def load_accounts(path: Path, instance: Instance) -> Mapping[str, SecretValue]:
    """The passwords by full Matrix id, of everybody whom the conversation needs.

    Raises:
        PrerequisiteError: the file cannot be read, others may read it, or somebody is not in it.
        BadInputError: it is not such a file.
    """
    found = _parse(_read(path), path)
    missing = [who for who in speakers(instance) if who not in found]
    if missing:
        raise PrerequisiteError(
            f"the password of {' and '.join(missing)} is not in it",
            where=str(path),
            hint="both accounts must exist; the second is nobody's operator, and is refused",
        )
    return {who: SecretValue(password) for who, password in found.items()}


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            data = file.read(_MAX_BYTES + 1) if stat.S_ISREG(facts.st_mode) else b""
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint=_HINT
        ) from error
    if not stat.S_ISREG(facts.st_mode) or len(data) > _MAX_BYTES:
        raise BadInputError("not a file of passwords", where=str(path), hint=_HINT)
    if facts.st_mode & 0o077 or facts.st_uid != os.geteuid():
        raise PrerequisiteError(
            "others may read it", where=str(path), hint="chmod 600, and make it your own"
        )
    return data


def _parse(data: bytes, path: Path) -> dict[str, str]:
    try:
        found = json.loads(data)
    except ValueError:  # its message could show a part of a password
        found = None
    good = isinstance(found, dict) and all(isinstance(v, str) and v for v in found.values())
    if not good:
        raise BadInputError("not an object of passwords", where=str(path), hint=_HINT)
    return {str(who): str(password) for who, password in found.items()}
