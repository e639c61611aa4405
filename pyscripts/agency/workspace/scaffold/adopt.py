"""Taking over a remote: a scaffolded workspace without commits becomes a clone of its remote.

    remote ─▶ reachable? ─▶ empty: nothing to take
                         ─▶ local commits of its history: it is a clone already
                         ─▶ no local commit: fetch, check out, and only then name the branch
                         ─▶ local commits of another history: a person decides

A file that the agent changed stays as it is, and shows as changed; what the scaffold made gives
way. The branch gets its commit last, so that a run that was cut off is done again. It runs as the
agent, whose files these are.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError
from agency.programs import Bounds, Finished, ProgramError, run_to_end

PROTOCOLS = ("https", "ssh")
_LOOK_S = 60.0
_FETCH_S = 600.0
_LOCAL_S = 120.0
_BOUNDS = Bounds(output_bytes=16 * 1024**2, error_bytes=1024**2, file_bytes=2 * 1024**3)
_MAX_PRISTINE = 64 * 1024
_LINE = re.compile(r"(?P<id>[0-9a-f]{40,64}|ref: (?P<of>refs/heads/\S+))\t(?P<name>\S+)\Z")
_ENTRY = re.compile(rb"(?P<mode>[0-7]{6}) \w+ (?P<id>[0-9a-f]{40,64})\t(?P<path>.+)\Z", re.DOTALL)
_FILES = {b"100644", b"100755", b"120000"}  # neither directories nor other repositories


class Taken(StrEnum):
    """Outcome for the workspace."""

    EMPTY = "the remote has no commit yet"
    ALREADY = "it is a clone already"
    CLONED = "cloned"


class UnreachableError(PrerequisiteError):
    """A remote that does not answer; the unit tries again."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Report; `kept` are files of the remote in whose place the workspace has its own."""

    taken: Taken
    branch: str | None = None
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remote:
    """Branches of a remote, by name with their newest commits, and the default one."""

    heads: Mapping[str, str]
    default: str | None


@dataclass(frozen=True, slots=True)
class Adopter:
    """git in one workspace; `protocols` are those that it may use to reach a remote."""

    git: str
    place: Path
    home: Path
    protocols: Sequence[str] = PROTOCOLS

    def adopt(self, pristine: Mapping[str, str]) -> Adoption:
        """Take over the remote `origin`; `pristine` are the files as the scaffold makes them.

        Raises:
            UnreachableError: the remote cannot be read.
            BadInputError: the workspace has commits of another history.
            ProgramError: git failed.
        """
        remote = self._look()
        if remote.default is None:
            return Adoption(Taken.EMPTY)
        branch, commit = remote.default, remote.heads[remote.default]
        self._fetch()
        if self._run(["rev-parse", "--verify", "--quiet", "HEAD"]).status == 0:
            return self._related(branch)
        kept = self._check_out(commit, pristine)
        self._must(["symbolic-ref", "HEAD", f"refs/heads/{branch}"])
        self._must(["update-ref", f"refs/heads/{branch}", commit])
        self._must(["config", f"branch.{branch}.remote", "origin"])
        self._must(["config", f"branch.{branch}.merge", f"refs/heads/{branch}"])
        return Adoption(Taken.CLONED, branch, kept)

    def _look(self) -> Remote:
        argv = ["ls-remote", "--symref", "origin", "HEAD", "refs/heads/*"]
        return read_remote(self._reached(argv, _LOOK_S).stdout.decode(errors="replace"))

    def _fetch(self) -> None:
        wanted = "+refs/heads/*:refs/remotes/origin/*"
        self._reached(["fetch", "--quiet", "--no-tags", "--prune", "origin", wanted], _FETCH_S)

    def _reached(self, argv: list[str], timeout: float) -> Finished:
        hint = "check the remote's address, the agent's rights there and its network"
        try:
            done = self._run(argv, timeout=timeout)
        except ProgramError as error:
            raise UnreachableError(error.message, where="origin", hint=hint) from error
        if done.status != 0:
            raise UnreachableError(
                f"the remote cannot be read: {done.reason}", where="origin", hint=hint
            )
        return done

    def _related(self, branch: str) -> Adoption:
        if self._run(["merge-base", "HEAD", f"refs/remotes/origin/{branch}"]).status != 0:
            raise BadInputError(
                "the workspace has commits of its own, and the remote has others",
                where=str(self.place),
                hint="decide which to keep: push the one to a new branch, or move the "
                "workspace away and start the unit again",
            )
        return Adoption(Taken.ALREADY, branch)

    def _check_out(self, commit: str, pristine: Mapping[str, str]) -> tuple[str, ...]:
        self._must(["read-tree", "--empty"])
        self._must(["read-tree", commit])
        listed = self._must(["ls-tree", "-r", "-z", commit]).stdout.split(b"\0")
        entries = [found for each in listed if (found := _ENTRY.match(each)) is not None]
        taken: list[bytes] = []
        kept: list[bytes] = []
        for entry in entries:
            if entry["mode"] not in _FILES:
                continue
            free = self._gives_way(entry["path"], entry["id"].decode(), pristine)
            (taken if free else kept).append(entry["path"])
        if taken:
            data = b"".join(path + b"\0" for path in taken)
            self._must(["checkout-index", "--force", "-u", "-z", "--stdin"], stdin=data)
        return tuple(path.decode(errors="replace") for path in kept)

    def _gives_way(self, path: bytes, blob: str, pristine: Mapping[str, str]) -> bool:
        """Return whether nothing of the agent's own is in that place."""
        place = os.fsencode(self.place) + b"/" + path
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return True
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_PRISTINE:
            return False
        name = path.decode(errors="replace")
        with open(place, "rb", opener=lambda p, f: os.open(p, f | os.O_NOFOLLOW)) as handle:
            content = handle.read(_MAX_PRISTINE + 1)
        if content == pristine.get(name, "").encode() and name in pristine:
            return True
        hashed = self._must(["hash-object", "--stdin"], stdin=content)
        return hashed.stdout.decode().strip() == blob  # of a run that was cut off

    def _must(self, argv: list[str], stdin: bytes | None = None) -> Finished:
        done = self._run(argv, stdin=stdin)
        if done.status != 0:
            raise ProgramError(f"git {argv[0]} failed: {done.reason}", where=str(self.place))
        return done

    def _run(
        self, argv: list[str], *, stdin: bytes | None = None, timeout: float = _LOCAL_S
    ) -> Finished:
        return run_to_end(
            [self.git, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
             "-c", "transfer.fsckObjects=true", "-C", str(self.place), *argv],
            cwd=Path("/"),
            stdin=stdin,
            env={
                "HOME": str(self.home),
                "PATH": os.environ.get("PATH", os.defpath),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
                "GIT_CEILING_DIRECTORIES": str(self.place.parent),
                **{k: v for k in ("SSH_AUTH_SOCK",) if (v := os.environ.get(k))},
            },
            timeout=timeout,
            bounds=_BOUNDS,
        )  # fmt: skip


def read_remote(text: str) -> Remote:
    """Read the output of `git ls-remote --symref`; the default is HEAD's branch, or main."""
    heads: dict[str, str] = {}
    pointed: str | None = None
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        if found["of"]:
            pointed = found["of"].removeprefix("refs/heads/")
        elif found["name"].startswith("refs/heads/"):
            heads[found["name"].removeprefix("refs/heads/")] = found["id"]
    for name in (pointed, "main", "master"):
        if name in heads:
            return Remote(heads, name)
    return Remote(heads, next(iter(heads)) if len(heads) == 1 else min(heads, default=None))
