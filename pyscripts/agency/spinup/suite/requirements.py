"""Prerequisites of the suite on this side: its files, and packages that developers have."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from agency.errors import PrerequisiteError

PACKAGES = ("pytest", "testinfra")


def require_suite(suite: Path) -> None:
    """Check that this Python can run the suite.

    Raises:
        PrerequisiteError: it is not there, or a package that it runs with is not.
    """
    if not suite.is_dir():
        raise PrerequisiteError(
            "the suite is not there", where=str(suite), hint="run this from a checkout"
        )
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise PrerequisiteError(
            f"Python packages that the suite runs with are missing: {', '.join(absent)}",
            where=sys.executable,
            hint="`make setup-dev` installs them (requirements/dev.txt)",
        )
