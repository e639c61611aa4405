"""Opening of the repository that the settings name, with the credentials that systemd hands over.

By hand, root reads the files that the settings name instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from agency.backup.restic import Repository
from agency.backup.settings import BackupSettings
from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import DIRECTORY_VARIABLE
from agency.settings import read_bounded

MAX_BYTES = 64 * 1024
# Variables of restic's backends (its manual, "Environment variables"), and no others: one more
# such as LD_PRELOAD would be root's.
_VARIABLE = re.compile(r"(AWS|AZURE|B2|ST|OS|GOOGLE|RESTIC_REST)_[A-Z0-9_]{1,60}")
_SFTP = re.compile(r"sftp:(?://)?(?P<user>[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+)[:/].*")


def open_repository(
    settings: BackupSettings, environ: Mapping[str, str] = os.environ
) -> Repository:
    """Make the client of the settings' repository; restic is not called yet.

    Raises:
        PrerequisiteError: a credential is missing. BadInputError: one is malformed.
    """
    cache = settings.state_dir / "cache"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot use the directory: {error.strerror or error}",
            where=str(settings.state_dir),
            hint="run this as root",
        ) from error
    password = _credential(settings.password_file, environ)
    if not os.access(password, os.R_OK):
        raise PrerequisiteError(
            "the password of the repository cannot be read",
            where=str(password),
            hint="run this as root, on a machine whose secrets are in place",
        )
    return Repository(
        settings.repository,
        password,
        cache,
        settings.timeout_s,
        environ.get("PATH", os.defpath),
        _environment(settings, environ),
        _ssh(settings, environ),
    )


def _credential(file: Path, environ: Mapping[str, str]) -> Path:
    directory = environ.get(DIRECTORY_VARIABLE)
    handed = Path(directory) / file.name if directory else None
    return handed if handed is not None and handed.is_file() else file


def _environment(settings: BackupSettings, environ: Mapping[str, str]) -> dict[str, str]:
    if settings.credentials_file is None:
        return {}
    file = _credential(settings.credentials_file, environ)
    if not file.exists():  # an optional secret
        return {}
    text = read_bounded(file, most=MAX_BYTES, what="the credentials of the repository").decode()
    found = {}
    # One line in the catalogue's form: pairs are parted by spaces. A value has none.
    for pair in text.split():
        name, _, value = pair.partition("=")
        if not _VARIABLE.fullmatch(name) or not value:
            raise BadInputError(
                "not of the form NAME=VALUE NAME=VALUE, with names that a backend of restic reads",
                where=str(file),
                hint="such as AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...",
            )
        found[name] = value
    return found


def _ssh(settings: BackupSettings, environ: Mapping[str, str]) -> tuple[str, ...]:
    matched = _SFTP.fullmatch(settings.repository)
    if matched is None or settings.ssh_key_file is None:
        return ()
    key = _credential(settings.ssh_key_file, environ)
    if not key.exists():
        return ()
    known = settings.known_hosts_file
    return (
        "ssh",
        *("-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes"),
        *(("-o", f"UserKnownHostsFile={known}") if known is not None else ()),
        f"{matched['user'] or ''}{matched['host']}",
        *("-s", "sftp"),
    )
