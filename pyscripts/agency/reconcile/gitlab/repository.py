"""git in a directory that an agent may write: always run as that agent, never as root.

A repository decides which programs git runs in it (hooks, fsmonitor, filters). Run as the agent,
they can do no more than the agent can do anyway.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agency.programs import ProgramError

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Repository:
    """git, by its absolute path."""

    git: str

    def init(self, place: Path, uid: int, gid: int) -> None:
        """Make an empty repository on the branch main, without hooks."""
        argv = ["init", "--quiet", "--initial-branch=main", "--template="]
        self._run(place, argv, uid, gid)

    def origin(self, place: Path, uid: int, gid: int) -> str | None:
        """Read the URL of the remote `origin`; None if it has none, or is broken."""
        done = self._started(place, ["config", "--local", "--get", "remote.origin.url"], uid, gid)
        return done.stdout.decode(errors="replace").strip() or None

    def add_origin(self, place: Path, url: str, uid: int, gid: int) -> None:
        """Add the remote `origin`."""
        self._run(place, ["remote", "add", "origin", url], uid, gid)

    def _run(self, place: Path, argv: list[str], uid: int, gid: int) -> None:
        done = self._started(place, argv, uid, gid)
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ProgramError(
                f"git {argv[0]} failed: {lines[-1] if lines else 'no message'}", where=str(place)
            )

    def _started(
        self, place: Path, argv: list[str], uid: int, gid: int
    ) -> subprocess.CompletedProcess[bytes]:
        switched = os.geteuid() != uid
        try:
            return subprocess.run(
                # -C and not cwd: the path is then resolved with the agent's rights.
                [self.git, "-C", str(place), *argv],
                cwd="/",
                env={
                    "HOME": str(place.parent),
                    "PATH": str(Path(self.git).parent),
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_CONFIG_GLOBAL": os.devnull,
                    "GIT_TERMINAL_PROMPT": "0",
                    "GIT_CEILING_DIRECTORIES": str(place.parent),
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                user=uid if switched else None,
                group=gid if switched else None,
                extra_groups=[] if switched else None,
                umask=0o077,
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"no end after {_TIMEOUT_S:g} s", where=str(place)) from error
