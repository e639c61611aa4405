"""Reader of a service's own secrets in `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from agency.errors import InternalError, PrerequisiteError
from agency.secrets.values import SecretValue

DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 1024 * 1024  # systemd's own limit for a service's credentials
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}\Z")


def read_credential(name: str, environ: Mapping[str, str] = os.environ) -> SecretValue:
    """Read the credential `name`, without one trailing newline.

    Raises:
        PrerequisiteError: the directory is not set, or the file is missing, empty, too large or
            not UTF-8.
        InternalError: `name` cannot be the name of a credential.
    """
    if not _NAME.match(name):
        raise InternalError(f"{name!r} cannot be the name of a credential")
    directory = environ.get(DIRECTORY_VARIABLE)
    if not directory:
        raise PrerequisiteError(
            f"the credential {name!r} is needed, and ${DIRECTORY_VARIABLE} is not set",
            where=f"${DIRECTORY_VARIABLE}",
            hint="run it as its systemd unit does, or let `agency up` start it",
        )
    path = Path(directory) / name
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read the credential {name!r}: {error.strerror or error}",
            where=str(path),
            hint=f"add LoadCredential={name}:<file> to the unit",
        ) from error
    return SecretValue(_text(name, path, data))


def has_credential(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether there is a credential of that name, for one that a service can do without."""
    directory = environ.get(DIRECTORY_VARIABLE)
    return bool(directory) and (Path(directory or "") / name).exists()


def _text(name: str, path: Path, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise PrerequisiteError(
            f"the credential {name!r} is larger than {MAX_BYTES} bytes", where=str(path)
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Without the cause: its message would quote bytes of the secret.
        raise PrerequisiteError(
            f"the credential {name!r} is not UTF-8 text", where=str(path)
        ) from None
    text = text.removesuffix("\n")
    if not text:
        raise PrerequisiteError(
            f"the credential {name!r} is empty",
            where=str(path),
            hint="run `agency secrets doctor` on the instance",
        )
    return text
