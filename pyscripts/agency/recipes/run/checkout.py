"""Checkout of the recipe under test, in abra's state: with its tags, at one commit.

A directory without a reference is taken as it is on disk, also what is not committed; git's own
list decides which files belong to it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, UsageError
from agency.programs import Bounds, ProgramError, find_program, run_program

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,200}\Z")
_VIA = re.compile(r"refs/[A-Za-z0-9][A-Za-z0-9._/+-]{0,240}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_URL = re.compile(
    r"(?:https?|ssh|git|file)://[!-~]{1,500}\Z|[a-z0-9._-]+@[a-z0-9.-]+:[!-~]{1,300}\Z"
)
_IDENTITY = ("-c", "user.name=agency", "-c", "user.email=agency@localhost")
_TIMEOUT_S = 300.0
_BOUNDS = Bounds(file_bytes=1024**3)


@dataclass(frozen=True, slots=True)
class Source:
    """Place of a recipe: a directory or a URL, and a branch, tag or commit of it.

    `via` is a further ref of that place, such as `refs/pull/7/head`, which holds the commit.
    """

    place: str
    ref: str | None
    via: str | None = None

    @property
    def directory(self) -> Path | None:
        """The directory; None for a URL."""
        return None if _URL.match(self.place) else Path(self.place)

    @property
    def name(self) -> str:
        """Last part of the place, which names the recipe if its sample does not."""
        return Path(self.place.rstrip("/")).resolve().name.removesuffix(".git")


def parse_source(text: str) -> Source:
    """Read PATH, PATH@REF, URL or URL@REF. A directory whose name has an @ is one.

    Raises:
        UsageError: there is no such directory and it is no URL, or the reference is malformed.
    """
    place, ref = text, None
    if not Path(text).is_dir():
        head, at, tail = text.rpartition("@")
        if at and (Path(head).is_dir() or _URL.match(head)):
            place, ref = head, tail
    if not _URL.match(place) and not Path(place).is_dir():
        raise UsageError(
            f"no directory and no URL: {text[:200]!r}", hint="PATH, PATH@REF or URL@REF"
        )
    if ref is not None and (not _REF.match(ref) or ".." in ref):
        raise UsageError(f"not a branch, tag or commit: {ref[:80]!r}")
    return Source(place, ref)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A clone in `directory`; `commit` is what is tested."""

    git: str
    directory: Path
    commit: str
    modified: bool

    def switch_to_head(self) -> None:
        """Put the files of the tested commit there; abra switches to others."""
        self._git("checkout", "--quiet", "--force", "--detach", self.commit)

    def switch(self, ref: str) -> None:
        """Put the files of a tag there."""
        self._git("checkout", "--quiet", "--force", "--detach", f"refs/tags/{ref}")

    def tags(self) -> tuple[str, ...]:
        """List the tags."""
        return tuple(self._git("tag", "--list").split())

    def tag_commits(self) -> tuple[str, ...]:
        """List the tags that name the tested commit."""
        return tuple(self._git("tag", "--points-at", self.commit).split())

    def _git(self, *arguments: str) -> str:
        return _git(self.git, self.directory, *arguments)


def fetch(source: Source, target: Path) -> Checkout:
    """Clone the recipe into `target` and check its commit out.

    Raises:
        BadInputError: it cannot be fetched, or has no such reference.
        PrerequisiteError: git is missing.
    """
    git = find_program("git", hint="install git")
    directory = source.directory
    target.mkdir(parents=True)
    try:
        if directory is not None and not (directory / ".git").exists():
            if source.ref is not None:
                raise UsageError(f"not a git repository, so it has no {source.ref!r}")
            shutil.copytree(directory, target, dirs_exist_ok=True, symlinks=True)
            _git(git, target, "init", "--quiet", "--initial-branch=main", "--template=")
            return _committed(git, target)
        origin = str(directory.resolve()) if directory is not None else source.place
        _git(git, target, "init", "--quiet", "--initial-branch=main", "--template=")
        _git(
            git,
            target,
            "fetch",
            "--quiet",
            "--tags",
            "--force",
            "--",
            origin,
            "+refs/heads/*:refs/remotes/origin/*",
        )
        if source.via is not None and source.ref is not None:
            return _at_commit(git, target, origin, source.via, source.ref)
        if source.ref is not None or directory is None:
            return _at(git, target, origin, source.ref)
        head = _git(git, directory, "rev-parse", "HEAD").strip()
        _git(git, target, "fetch", "--quiet", "--", origin, head)
        _git(git, target, "checkout", "--quiet", "--detach", head)
        _overlay(git, directory, target)
        return _committed(git, target)
    except ProgramError as error:
        raise BadInputError(f"cannot be fetched: {error.message}", where=source.place) from error


def _at(git: str, target: Path, origin: str, ref: str | None) -> Checkout:
    for candidate in (f"refs/remotes/origin/{ref}", f"refs/tags/{ref}") if ref else ():
        try:
            commit = _git(git, target, "rev-parse", "--verify", f"{candidate}^{{commit}}").strip()
            break
        except ProgramError:
            continue
    else:
        _git(git, target, "fetch", "--quiet", "--", origin, ref or "HEAD")
        commit = _git(git, target, "rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
    _git(git, target, "checkout", "--quiet", "--detach", commit)
    return Checkout(git, target, commit, modified=False)


def _at_commit(git: str, target: Path, origin: str, via: str, commit: str) -> Checkout:
    """Check out a commit that a ref holds; it may no longer be that ref's last one."""
    if not _VIA.match(via) or ".." in via or not _COMMIT.match(commit):
        raise BadInputError(f"not a commit of a ref: {commit[:80]!r} of {via[:80]!r}", where=origin)
    _git(git, target, "fetch", "--quiet", "--", origin, via)
    try:
        found = _git(git, target, "rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    except ProgramError:  # it was replaced there; many forges still give it by its name
        _git(git, target, "fetch", "--quiet", "--", origin, commit)
        found = _git(git, target, "rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    _git(git, target, "checkout", "--quiet", "--detach", found)
    return Checkout(git, target, found, modified=False)


def _overlay(git: str, directory: Path, target: Path) -> None:
    """Make the target's files those of the working directory, without what git ignores."""
    listed = _git(git, directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    wanted = {name for name in listed.split("\0") if name}
    for name in _git(git, target, "ls-files", "-z").split("\0"):
        if name:
            (target / name).unlink(missing_ok=True)
    for name in sorted(wanted):
        path = directory / name
        if path.is_symlink() or path.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / name, follow_symlinks=False)


def _committed(git: str, target: Path) -> Checkout:
    """Commit what differs: abra refuses a checkout with changes."""
    _git(git, target, "add", "--all", "--force")
    modified = bool(_git(git, target, "status", "--porcelain"))
    if modified:
        _git(git, target, *_IDENTITY, "commit", "--quiet", "--message=As it is on disk")
    commit = _git(git, target, "rev-parse", "HEAD").strip()
    _git(git, target, "checkout", "--quiet", "--detach", commit)
    return Checkout(git, target, commit, modified)


def _git(git: str, directory: Path, *arguments: str) -> str:
    """Run git without the user's configuration, hooks of others, questions or odd transports."""
    options = ("-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null")
    return run_program(
        [git, "-C", str(directory), *options, *arguments],
        timeout=_TIMEOUT_S,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        },
        bounds=_BOUNDS,
    ).decode(errors="surrogateescape")
