"""Paths of a machine: directories of a user (XDG base directories), and of programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agency.errors import PrerequisiteError


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_STATE_HOME/agency`, for keys, runs and logs that persist. Not created here.

    Raises:
        PrerequisiteError: it is not set, and this user has no home directory.
    """
    base = environ.get("XDG_STATE_HOME")
    if base:
        return Path(base) / "agency"
    try:
        return Path.home() / ".local" / "state" / "agency"
    except RuntimeError as error:
        raise PrerequisiteError(
            f"the user {os.getuid()} has no entry in /etc/passwd, and HOME is not set",
            where="$HOME",
            hint="set HOME, or XDG_STATE_HOME, to a directory of this user",
        ) from error


SANDBOX_VARIABLE = "AGENCY_SANDBOX_DIR"
_SANDBOX_OF_ROOT = Path("/var/lib/agency-sandbox")


def sandbox_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of leases; root always has the same one, so that the timer finds it.

    `AGENCY_SANDBOX_DIR` overrides it. Not created here.
    """
    named = environ.get(SANDBOX_VARIABLE)
    if named:
        return Path(named)
    return _SANDBOX_OF_ROOT if os.geteuid() == 0 else state_dir(environ) / "sandbox"


# Directories of an image, and of what a runtime mounts in a container.
_OF_IMAGES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys"),
    *("/usr", "/var", "/opt/agency"),
)
_OF_MANY = ("/", "/home", "/opt", "/srv", "/tmp")  # noqa: S108 - a name


def is_in_own_directory(program: Path) -> bool:
    """Return whether a program's directory can be shown in a container without hiding its own."""
    place = program.parent
    return str(place) not in _OF_MANY and not any(place.is_relative_to(each) for each in _OF_IMAGES)
