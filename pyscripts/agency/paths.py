"""Directories of a user of a machine (XDG base directories)."""

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
