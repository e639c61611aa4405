"""Passwords of the people who talk to a host's agency: a file that only its owner reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from agency import naming
from agency.errors import BadInputError, PrerequisiteError
from agency.instance import Instance
from agency.secrets import SecretValue
from agency.settings import read_bounded
from agency.spinup.examination import OUTSIDER

_PASSWORDS = TypeAdapter(dict[str, Annotated[str, Field(min_length=1)]])
_MAX_BYTES = 64 * 1024
_HINT = 'write {"@alice:DOMAIN": "PASSWORD", ...} into it, mode 0600'


def load_accounts(path: Path, instance: Instance) -> Mapping[str, SecretValue]:
    """Read the passwords by full Matrix id, of everybody whom the conversation needs.

    Raises:
        PrerequisiteError: the file cannot be read, others may read it, or somebody is not in it.
        BadInputError: it is not such a file.
    """
    data = read_bounded(path, most=_MAX_BYTES, what="the passwords", hint=_HINT, private=True)
    try:
        found = _PASSWORDS.validate_json(data)
    except ValidationError:  # its message could show a part of a password
        raise BadInputError("not an object of passwords", where=str(path), hint=_HINT) from None
    speakers = (instance.operators[0], naming.matrix_id(OUTSIDER, instance.domain))
    missing = [who for who in speakers if who not in found]
    if missing:
        raise PrerequisiteError(
            f"the password of {' and '.join(missing)} is not in it",
            where=str(path),
            hint="both accounts must exist; the second is nobody's operator, and is refused",
        )
    return {who: SecretValue(password) for who, password in found.items()}
