"""Directories of a user of a machine (XDG base directories)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_STATE_HOME/agency`, for keys, runs and logs that persist. Not created here."""
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "agency"


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
