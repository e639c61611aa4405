"""git in a repository under the contract; the repository's own hooks and settings do not count."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.programs import Bounds, Finished, ProgramError, run_to_end
from agency.workspace.scaffold.repository import Signature

HOOKS = Path(__file__).parent / "hooks"
_NAMES = ("pre-push", "reference-transaction")
_LOCAL_S = 120.0
_REMOTE_S = 60.0
_BOUNDS = Bounds(output_bytes=16 * 1024**2, error_bytes=1024**2)


def check_hooks(hooks: Path = HOOKS) -> None:
    """Check that the hooks are root's, can run, and that this user cannot change them.

    Raises:
        PrerequisiteError: one is missing, cannot run, or could be changed by its user.
    """
    for path in (hooks, *(hooks / name for name in _NAMES)):
        try:
            found = path.lstat()
        except OSError as error:
            raise PrerequisiteError(
                f"a hook of the coding contract is missing: {error.strerror}", where=str(path)
            ) from error
        kind = stat.S_ISDIR if path == hooks else stat.S_ISREG
        if not kind(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise PrerequisiteError(
                "the hooks of the coding contract must be root's, and no one else's to change",
                where=str(path),
                hint=f"chown -R root {hooks}; chmod -R go-w {hooks}",
            )
        if not found.st_mode & 0o001:
            raise PrerequisiteError(
                "a hook of the coding contract cannot be run",
                where=str(path),
                hint=f"chmod 755 {path}",
            )


def contract_env(branch: str, author: Signature, hooks: Path = HOOKS) -> dict[str, str]:
    """Return the environment of git under the contract.

    These settings count more than those of the repository, the agent and the machine.
    """
    settings = {
        "core.hooksPath": str(hooks),
        "core.fsmonitor": "false",
        "credential.helper": "",  # empties the list
        "core.askPass": "false",
        "push.default": "nothing",
        "user.name": author.name,
        "user.email": author.email,
        "commit.gpgSign": "false",
        "gc.auto": "0",
    }
    env = {
        "AGENCY_CONTRACT_BRANCH": branch,
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_SSH_COMMAND": "false",
        "GIT_TERMINAL_PROMPT": "0",
    }
    for number, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository that is worked in, by our own calls of git, which run no hook."""

    git: str
    place: Path
    home: Path

    def run(self, *argv: str, timeout: float = _LOCAL_S) -> Finished:
        """Run git, whatever its exit status."""
        return run_to_end(
            [self.git, "-C", str(self.place), *argv],
            cwd=Path("/"),
            env=self._env(),
            timeout=timeout,
            bounds=_BOUNDS,
        )

    def _env(self) -> Mapping[str, str]:
        env = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": os.devnull,
            "GIT_CONFIG_KEY_1": "core.fsmonitor",
            "GIT_CONFIG_VALUE_1": "false",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CEILING_DIRECTORIES": str(self.place.parent),
        }
        if "SSH_AUTH_SOCK" in os.environ:
            env["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
        return env

    def must(self, *argv: str) -> str:
        """Run git and return what it printed.

        Raises:
            ProgramError: it failed.
        """
        done = self.run(*argv)
        if done.status != 0:
            raise ProgramError(f"git {argv[0]} failed: {done.reason}", where=str(self.place))
        return done.stdout.decode(errors="replace").strip("\n")

    def reaches_remote(self) -> Finished:
        """Ask the remote for its branches."""
        return self.run("ls-remote", "--heads", "origin", timeout=_REMOTE_S)

    def refs(self) -> dict[str, str]:
        """Return every branch, tag and replacement, with what it points to."""
        listed = self.must("for-each-ref", "--format=%(objectname) %(refname)")
        found = (line.partition(" ")[::2] for line in listed.splitlines())
        return {name: commit for commit, name in found if not name.startswith("refs/remotes/")}

    def branch(self) -> str | None:
        """Return the branch that HEAD names; None if it names a commit."""
        done = self.run("symbolic-ref", "--quiet", "--short", "HEAD")
        return done.stdout.decode().strip() if done.status == 0 else None

    def changes(self) -> list[str]:
        """List what is changed and not committed, with what is not tracked."""
        return self.must("status", "--porcelain", "--untracked-files=all").splitlines()
