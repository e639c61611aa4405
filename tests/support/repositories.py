"""Git repositories that tests make, whatever the configuration of the person who runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory; return its output."""
    return subprocess.run(
        ["git", *IDENTITY, *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
    ).stdout
