"""Opening of the repository of the settings, with the credentials that systemd hands over."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from agency.backup.restic import Repository
from agency.backup.settings import BackupSettings
from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import DIRECTORY_VARIABLE, names
from agency.settings import read_bounded

MAX_BYTES = 64 * 1024
# Variables of restic's backends (its manual, "Environment variables"), and no others: one more
# such as LD_PRELOAD would be root's.
_VARIABLE = re.compile(r"(AWS|AZURE|B2|ST|OS|GOOGLE|RESTIC_REST)_[A-Z0-9_]{1,60}")
# restic's two forms of an address, of which the second may have a port.
_HOST = r"(?P<user>[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+)"
_SFTP = (
    re.compile(rf"sftp:{_HOST}:.*"),
    re.compile(rf"sftp://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?/.*"),
)


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
    directory = environ.get(DIRECTORY_VARIABLE)
    credentials = Path(directory) if directory else None
    if credentials is None or not os.access(credentials / names.BACKUP_PASSWORD, os.R_OK):
        raise PrerequisiteError(
            "the password of the repository cannot be read",
            where=names.BACKUP_PASSWORD,
            hint="run this as root, on a machine whose secrets are in place",
        )
    environment = _environment(credentials / names.BACKUP_CREDENTIALS)
    return Repository(
        settings.repository,
        credentials / names.BACKUP_PASSWORD,
        cache,
        settings.timeout_s,
        environ.get("PATH", os.defpath),
        environment | _address(settings.repository, environment),
        _ssh(settings.repository, credentials / names.BACKUP_SSH_KEY),
    )


def _environment(file: Path) -> dict[str, str]:
    if not file.exists():  # a repository on a disk of this machine needs none
        return {}
    data = read_bounded(file, most=MAX_BYTES, what="the credentials of the repository")
    found = {}
    # One line, as the catalogue wants it: pairs are parted by spaces. A value has none.
    for pair in data.decode(errors="replace").split():
        name, _, value = pair.partition("=")
        if not _VARIABLE.fullmatch(name) or not value:
            raise BadInputError(
                "not of the form NAME=VALUE NAME=VALUE, with names that a backend of restic reads",
                where=names.BACKUP_CREDENTIALS,
                hint="such as AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...",
            )
        found[name] = value
    return found


def _address(location: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the address of a REST server with its user and password, as a variable of restic's.

    Its own two variables are read by restic 0.16.1 and newer alone; Debian 12 has 0.14.
    """
    user, password = (environment.get(f"RESTIC_REST_{name}") for name in ("USERNAME", "PASSWORD"))
    scheme, parted, rest = location.partition("://")
    if not location.startswith("rest:") or not parted or user is None or password is None:
        return {}
    host, slash, path = rest.partition("/")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return {"RESTIC_REPOSITORY": f"{scheme}://{login}@{host.rpartition('@')[2]}{slash}{path}"}


def _ssh(location: str, key: Path) -> tuple[str, ...]:
    """Return the call of ssh for SFTP; hosts are known to the machine (programs.ssh.knownHosts)."""
    matched = next((found for form in _SFTP if (found := form.fullmatch(location))), None)
    if matched is None or not key.exists():
        return ()
    port = matched.groupdict().get("port")
    return (
        "ssh",
        *("-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes"),
        *(("-p", port) if port else ()),
        f"{matched['user'] or ''}{matched['host']}",
        *("-s", "sftp"),
    )
