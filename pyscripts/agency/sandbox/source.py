"""Source of a sandbox: a directory, or one commit of a git repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.programs import ProgramError, run_program

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FETCH_S = 300.0
_BLOCK = 64 * 1024
MAX_FETCHED_BYTES = 64 * 1024 * 1024
MAX_CHECKOUT_BYTES = 128 * 1024 * 1024
MAX_FILES = 20_000
_ROOM_BYTES = 1024**3
_NEEDED = ("pyproject.toml", "requirements/guest.txt", "modules/portable")


@dataclass(frozen=True, slots=True)
class Source:
    """Directory, or a repository (path or URL) at a commit."""

    asked: str
    place: str
    commit: str | None


def parse_source(text: str) -> Source:
    """Read DIR or GIT@SHA; the SHA must be complete, so that it always means the same commit.

    Raises:
        UsageError: it is neither.
    """
    place, at, commit = text.rpartition("@")
    if at and _COMMIT.match(commit) and place and not place.startswith("-"):
        return Source(text, place, commit)
    if text and Path(text).is_dir():
        return Source(text, text, None)
    raise UsageError(
        f"{text!r} is neither a directory nor GIT@SHA",
        where="--source",
        hint="name a checkout, or a repository with a commit of 40 hexadecimal digits",
    )


def fetch(source: Source, into: Path) -> Path:
    """Return the directory with the source's files: itself, or a checkout made in `into`.

    Raises:
        ProgramError: git could not get that commit.
        PrerequisiteError: there is no room for it.
        BadInputError: it is too large, or it is not a checkout of this project.
    """
    if source.commit is None:
        directory = Path(source.place).resolve()
    else:
        directory = into / "checkout"
        _check_out(source.place, source.commit, directory)
    missing = [name for name in _NEEDED if not (directory / name).exists()]
    if missing:
        raise BadInputError(
            f"not a checkout of this project: it has no {', '.join(missing)}",
            where=source.asked,
            hint="name the root of a checkout",
        )
    return directory


def _check_out(place: str, commit: str, directory: Path) -> None:
    free = shutil.disk_usage(directory.parent).free
    if free < _ROOM_BYTES:
        raise PrerequisiteError(
            f"not enough disk space: {free} bytes free, {_ROOM_BYTES} needed",
            where=str(directory.parent),
            hint="free some space",
        )
    env = _environment(place, directory.parent)
    hint = (
        "is the commit in that repository, may this user read it, "
        f"and is it smaller than {MAX_FETCHED_BYTES // 1024**2} MiB?"
    )

    def git(*argv: str) -> None:
        # No single file may become larger: what is fetched is one.
        limited = ("prlimit", f"--fsize={MAX_FETCHED_BYTES}", "git", *argv)
        try:
            run_program(limited, timeout=_FETCH_S, env=env, hint=hint)
        except ProgramError as error:
            raise ProgramError(error.message, where="git", hint=hint) from error

    here = ("-C", str(directory), "-c", "core.hooksPath=/dev/null")
    git("init", "--quiet", "--template=", str(directory))
    fetching = ("-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--depth=1", "--no-tags")
    git(*here, *fetching, "--no-recurse-submodules", "--", place, commit)
    _measure(directory, commit, env)
    git(*here, "checkout", "--quiet", "--detach", commit)


def _environment(place: str, home: Path) -> dict[str, str]:
    """Return git's environment: no transports that run programs, no credentials, fixed settings."""
    local = Path(place)
    if local.exists():
        # The owner may be another. upload-pack is made to serve repositories that are not trusted
        # (git-upload-pack(1), SECURITY); it asks the user's own settings, not the environment.
        allowed = "".join(
            f"\tdirectory = {json.dumps(str(path))}\n"
            for path in (local.resolve(), local.resolve() / ".git")
        )
        (home / ".gitconfig").write_text(f"[safe]\n{allowed}")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "file:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _measure(directory: Path, commit: str, env: dict[str, str]) -> None:
    """Refuse a commit whose files would fill the disk; a few kilobytes of git may name very many.

    Raises:
        BadInputError: it is too large.
    """
    argv = ("git", "-C", str(directory), "ls-tree", "-r", "-t", "-l", "-z", commit)
    listing = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = threading.Timer(_FETCH_S, listing.kill)
    deadline.start()
    try:
        assert listing.stdout is not None
        files, size = _sums(listing.stdout)
    finally:
        deadline.cancel()
        listing.kill()
        listing.wait()
    if files > MAX_FILES or size > MAX_CHECKOUT_BYTES:
        raise BadInputError(
            f"a checkout would have more than {MAX_FILES} files or {MAX_CHECKOUT_BYTES} bytes",
            where=commit,
            hint="a sandbox runs this project, which is smaller",
        )


def _sums(listing: IO[bytes]) -> tuple[int, int]:
    """Sum up entries and bytes of `git ls-tree -l -z`, read no further than the bounds allow."""
    files = size = 0
    rest = b""
    while files <= MAX_FILES and size <= MAX_CHECKOUT_BYTES:
        block = listing.read(_BLOCK)
        if not block:
            break
        *entries, rest = (rest + block).split(b"\0")
        files += len(entries)
        for entry in entries:
            length = entry.split(b"\t")[0].split()[-1:]
            size += int(length[0]) if length and length[0].isdigit() else 0
        if len(rest) > _BLOCK:
            return MAX_FILES + 1, size
    return files, size
