"""Credentials of a program that a person runs by hand, where systemd hands it none.

NixOS writes beside the settings of a unit which file each of its credentials is read from.
These files stay where they are, readable to root alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agency.errors import PrerequisiteError
from agency.secrets.delivery.credentials import DIRECTORY_VARIABLE

_FILES = TypeAdapter(dict[str, Path])


@contextmanager
def credentials(settings: Path, environ: MutableMapping[str, str]) -> Iterator[None]:
    """Set $CREDENTIALS_DIRECTORY for a run by hand, from the list beside `settings`.

    It is left alone where it is set, and unset where there is no list.

    Raises:
        PrerequisiteError: the list cannot be read.
    """
    listed = settings.with_name(f"{settings.stem}.credentials.json")
    if environ.get(DIRECTORY_VARIABLE) or not listed.is_file():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="agency-credentials-") as directory:
        for name, file in _read(listed).items():
            (Path(directory) / Path(name).name).symlink_to(file)
        environ[DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            del environ[DIRECTORY_VARIABLE]


def _read(listed: Path) -> dict[str, Path]:
    try:
        return _FILES.validate_python(json.loads(listed.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise PrerequisiteError(
            "the list of credentials cannot be read",
            where=str(listed),
            hint="`nixos-rebuild switch` writes it again; run this as root",
        ) from error
