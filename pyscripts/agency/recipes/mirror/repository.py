"""Bare repository through which a mirror is made: it knows no settings, hooks or questions.

What is fetched from is read without the token; git that holds the token reads nothing of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from agency.errors import BadInputError, UsageError
from agency.programs import Bounds, ProgramError, find_program, run_program
from agency.secrets import Redactor, SecretValue

UPSTREAM, MIRROR, CHANGE = "refs/upstream", "refs/mirror", "refs/change"
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,100}\Z")
_TIMEOUT_S = 300.0
_BOUNDS = Bounds(file_bytes=1024**3)


def check_branch(branch: str) -> str:
    """Return the name of a branch that may be pushed.

    Raises:
        UsageError: it is none, or that of the mirror itself.
    """
    if not _BRANCH.match(branch) or ".." in branch or branch.endswith((".lock", "/", ".")):
        raise UsageError(f"not the name of a branch: {branch[:80]!r}", where="--branch")
    if branch in ("main", "master"):
        raise UsageError("main is the mirror's own", where="--branch", hint="name another one")
    return branch


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare repository in a directory of its own, whose HOME and credentials are beside it."""

    place: Path
    git: str

    @classmethod
    def make(cls, place: Path) -> Bare:
        """Make one.

        Raises:
            PrerequisiteError: git is missing.
        """
        bare = cls(place, find_program("git", hint="install git"))
        bare._run("init", "--quiet", "--bare", "--template=", ".")
        return bare

    def fetch(self, source: str, *refspecs: str) -> None:
        """Fetch from a URL or directory that needs no token.

        Raises:
            BadInputError: it cannot be fetched.
        """
        self._fetch(source, refspecs, None)

    def fetch_with(self, token: Login, source: str, *refspecs: str) -> None:
        """Fetch from the forge.

        Raises:
            BadInputError: it cannot be fetched.
        """
        self._fetch(source, refspecs, token)

    def remote_commit(self, token: Login, source: str, ref: str) -> str | None:
        """Return the commit of a ref at the forge; None if there is no such ref.

        Raises:
            BadInputError: the repository cannot be read.
        """
        try:
            told = self._run("ls-remote", "--", source, ref, login=token).split()
        except ProgramError as error:
            raise BadInputError(f"cannot be read: {error.message}", where=source) from error
        return told[0] if told else None

    def push(self, token: Login, target: str, *refspecs: str) -> None:
        """Push to the forge.

        Raises:
            BadInputError: the forge refuses it.
        """
        try:
            self._run("push", "--quiet", "--no-verify", target, *refspecs, login=token)
        except ProgramError as error:
            raise BadInputError(f"not pushed: {error.message}", where=target) from error

    def commit(self, ref: str) -> str | None:
        """Return the commit of a ref; None if there is no such ref."""
        told = self._run("for-each-ref", "--format=%(objectname)", ref).split()
        return told[0] if told else None

    def lost(self, old: str, new: str) -> int:
        """Count the commits of `old` that `new` lacks."""
        return int(self._run("rev-list", "--count", old, f"^{new}"))

    def tags(self) -> list[str]:
        """List the tags."""
        return self._run("tag", "--list").split()

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return self._run("show", "--no-patch", "--format=%s", commit).strip()

    def _fetch(self, source: str, refspecs: tuple[str, ...], login: Login | None) -> None:
        try:
            self._run("fetch", "--quiet", "--no-tags", "--", source, *refspecs, login=login)
        except ProgramError as error:
            raise BadInputError(f"cannot be fetched: {error.message}", where=source) from error

    def _run(self, *argv: str, login: Login | None = None) -> str:
        settings = {"core.hooksPath": os.devnull, "protocol.ext.allow": "never"}
        if login is not None:
            helper = login.write(self.place / "credentials")
            settings |= {
                "credential.helper": f"store --file={helper}",
                "http.followRedirects": "false",
            }
        try:
            return run_program(
                [self.git, *argv],
                cwd=self.place,
                timeout=_TIMEOUT_S,
                bounds=_BOUNDS,
                env=_environment(self.place, settings),
            ).decode(errors="replace")
        except ProgramError as error:
            if login is None:
                raise
            raise ProgramError(Redactor([login.token]).redact(error.message)) from None
        finally:
            (self.place / "credentials").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Login:
    """A person at the forge at `url`."""

    url: str
    user: str
    token: SecretValue

    def write(self, place: Path) -> Path:
        """Write git's file of credentials, which nobody else can read."""
        parts = urlsplit(self.url)
        pair = f"{quote(self.user, safe='')}:{quote(self.token.reveal(), safe='')}"
        place.touch(mode=0o600)
        place.write_text(f"{parts.scheme}://{pair}@{parts.netloc}\n")
        return place


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    environment = {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment
