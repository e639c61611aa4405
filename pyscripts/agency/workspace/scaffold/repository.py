"""git in a directory that an agent may write: always run as that agent, never as root.

A repository decides which programs git runs in it (hooks, fsmonitor, filters). Run as the agent,
they can do no more than the agent can do anyway.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agency.programs import Account, Bounds, Finished, ProgramError, run_to_end

_TIMEOUT_S = 5.0
# Agents write what git reads here, and one agent must not stop what is done for the others.
_BOUNDS = Bounds(
    output_bytes=64 * 1024, error_bytes=64 * 1024, memory_bytes=128 * 1024**2, processor_s=5
)
_NO_SUCH_SETTING = 1  # git-config(1)


@dataclass(frozen=True, slots=True)
class Signature:
    """The name and address that commits are signed with."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Repository:
    """git, by its absolute path."""

    git: str

    def init(self, place: Path, uid: int, gid: int, author: Signature) -> None:
        """Make an empty repository on the branch main, without hooks, that knows its author."""
        argv = ["init", "--quiet", "--initial-branch=main", "--template="]
        self._run(place, argv, uid, gid)
        self._run(place, ["config", "--local", "user.name", author.name], uid, gid)
        self._run(place, ["config", "--local", "user.email", author.email], uid, gid)

    def has_origin(self, place: Path, uid: int, gid: int) -> bool:
        """Return whether it has a remote `origin`.

        Raises:
            ProgramError: its settings cannot be read within the bounds.
        """
        argv = ["config", "--local", "--get-regexp", r"^remote\.origin\.url$"]
        done = self._finished(place, argv, uid, gid)
        if done.status not in {0, _NO_SUCH_SETTING}:
            raise _failure(argv, place, done)
        return done.status == 0

    def add_origin(self, place: Path, url: str, uid: int, gid: int) -> None:
        """Add the remote `origin`."""
        self._run(place, ["remote", "add", "origin", url], uid, gid)

    def _run(self, place: Path, argv: list[str], uid: int, gid: int) -> None:
        done = self._finished(place, argv, uid, gid)
        if done.status != 0:
            raise _failure(argv, place, done)

    def _finished(self, place: Path, argv: list[str], uid: int, gid: int) -> Finished:
        try:
            return run_to_end(
                # -C and not cwd: the path is then resolved with the agent's rights.
                [self.git, "-C", str(place), *argv],
                cwd=Path("/"),
                env={
                    "HOME": str(place.parent),
                    "PATH": str(Path(self.git).parent),
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_CONFIG_GLOBAL": os.devnull,
                    "GIT_TERMINAL_PROMPT": "0",
                    "GIT_CEILING_DIRECTORIES": str(place.parent),
                },
                timeout=_TIMEOUT_S,
                bounds=_BOUNDS,
                account=Account(uid, gid) if os.geteuid() != uid else None,
            )
        except ProgramError as error:
            raise ProgramError(error.message, where=str(place)) from error


def _failure(argv: list[str], place: Path, done: Finished) -> ProgramError:
    return ProgramError(f"git {argv[0]} failed: {done.reason}", where=str(place))
