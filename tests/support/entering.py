"""`agency command`, run against the socket of a control plane."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forking


def socket_of(control: Any) -> Path:
    return Path(control.config["state_dir"]) / "command.sock"


def argv_of(path: Path, *words: str, **options: object) -> list[str]:
    named = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "agency", "command", "--json", f"--socket={path}", *named, *words]


def command(
    path: Path, *words: str, user: int | None = None, **options: object
) -> tuple[int, dict[str, Any]]:
    """Run it; return its exit status and what it printed as JSON, result or error."""
    argv, env = argv_of(path, *words, **options), {**os.environ, "HOME": "/nonexistent"}
    if user is None:
        done = forking.run(*argv[3:], env=env, cwd=Path("/"))
    else:
        done = subprocess.run(
            argv, capture_output=True, check=False, user=user, group=user, extra_groups=[],
            env=env, cwd="/",
        )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout or done.stderr)
