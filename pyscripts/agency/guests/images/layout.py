"""Places in a guest, and the programs that put Python packages there."""

from __future__ import annotations

from pathlib import PurePosixPath

PREFIX = PurePosixPath("/opt/agency")  # the exported units call <prefix>/bin/agency
SOURCE = PurePosixPath("/opt/source")  # the parts of a checkout that are activated
WHEELS = PurePosixPath("/var/cache/agency-wheelhouse")  # while they are being installed


def venv() -> tuple[str, ...]:
    """Make the virtual environment."""
    return ("python3", "-I", "-m", "venv", str(PREFIX))


def pip_install(requirements: PurePosixPath) -> tuple[str, ...]:
    """Install what the requirements name, from WHEELS alone, each wheel checked by its hash."""
    return (
        *(str(PREFIX / "bin" / "pip"), "install", "--quiet", "--no-input", "--no-cache-dir"),
        *("--disable-pip-version-check", "--no-index", "--no-deps", "--require-hashes"),
        *("--find-links", str(WHEELS), "--requirement", str(requirements)),
    )
