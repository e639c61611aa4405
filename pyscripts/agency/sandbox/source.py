"""Source of a sandbox: a directory, or one commit of a git repository."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.programs import Bounds, ProgramError, TooMuchOutputError, run_program

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FETCH_S = 300.0
MAX_FETCHED_BYTES = 64 * 1024 * 1024
MAX_CHECKOUT_BYTES = 128 * 1024 * 1024
MAX_FILES = 20_000
_ROOM_BYTES = 1024**3
_SYSTEM_PATH = "/usr/bin:/bin:/run/current-system/sw/bin"
_MEMORY_BYTES = 1024**3  # a pack of some kilobytes may say how to make gigabytes
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
    env = _environment(directory.parent)
    # No single file may become larger: what is fetched is one.
    bounds = Bounds(
        memory_bytes=_MEMORY_BYTES, processor_s=int(_FETCH_S), file_bytes=MAX_FETCHED_BYTES
    )
    hint = (
        "is the commit in that repository, may this user read it, "
        f"and is it smaller than {MAX_FETCHED_BYTES // 1024**2} MiB?"
    )

    def git(*argv: str) -> None:
        try:
            run_program(("git", *argv), timeout=_FETCH_S, env=env, hint=hint, bounds=bounds)
        except ProgramError as error:
            raise ProgramError(error.message, where="git", hint=hint) from error

    here = ("-C", str(directory), "-c", "core.hooksPath=/dev/null")
    git("init", "--quiet", "--template=", str(directory))
    _neutralise_attributes(directory)
    fetching = ("-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--depth=1", "--no-tags")
    git(*here, *fetching, *serving(place), "--no-recurse-submodules", "--", place, commit)
    _measure(directory, commit, env, bounds)
    git(*here, "-c", "core.autocrlf=false", "checkout", "--quiet", "--detach", commit)


def _neutralise_attributes(directory: Path) -> None:
    """Have git write each file's own bytes: this file takes precedence over a source's attributes.

    Source: gitattributes(5). Encodings and idents would make files larger than what was measured.
    """
    info = directory / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* -text -ident -filter -eol -working-tree-encoding\n")


def serving(place: str) -> tuple[str, ...]:
    """Return git's options that have a local repository served by its owner.

    A repository of another user may name further places (a `.git` that is a file, alternates),
    which the owner need not be able to read.

    Raises:
        BadInputError: the repository belongs to another user, and only root may become that one.
    """
    local = Path(place)
    if not local.exists():
        return ()
    inner = local / ".git"
    seen = inner.lstat() if os.path.lexists(inner) else local.stat()
    if seen.st_uid == os.geteuid():
        return ()
    if os.geteuid() != 0:
        raise BadInputError(
            f"it belongs to another user (uid {seen.st_uid})",
            where=place,
            hint="clone it with `git clone --no-local`, and name the clone",
        )
    # Numbers and constants alone: git has a shell read this.
    switched = f"setpriv --reuid={seen.st_uid} --regid={seen.st_gid} --clear-groups"
    clean = f"env -i PATH={_SYSTEM_PATH} HOME=/nonexistent LC_ALL=C GIT_CONFIG_NOSYSTEM=1"
    return (f"--upload-pack={switched} {clean} git-upload-pack",)


def _environment(home: Path) -> dict[str, str]:
    """Return git's environment: no transports that run programs, no credentials, fixed settings."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "file:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        # ssh finds its user's keys by the password database, whatever HOME says.
        "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes "
        "-o IdentityFile=none -o IdentityAgent=none",
    }


def _measure(directory: Path, commit: str, env: dict[str, str], bounds: Bounds) -> None:
    """Refuse a commit whose files would fill the disk; a few kilobytes of git may name very many.

    Raises:
        BadInputError: it is too large.
    """
    argv = ("git", "-C", str(directory), "ls-tree", "-r", "-t", "-l", "-z", commit)
    try:
        files, size = _sums(run_program(argv, timeout=_FETCH_S, env=env, bounds=bounds))
    except TooMuchOutputError:
        files, size = MAX_FILES + 1, 0
    if files > MAX_FILES or size > MAX_CHECKOUT_BYTES:
        raise BadInputError(
            f"a checkout would have more than {MAX_FILES} files or {MAX_CHECKOUT_BYTES} bytes",
            where=commit,
            hint="a sandbox runs this project, which is smaller",
        )


def _sums(listing: bytes) -> tuple[int, int]:
    """Sum up entries and bytes of `git ls-tree -l -z`."""
    entries = listing.split(b"\0")[:-1]
    lengths = (entry.split(b"\t")[0].split()[-1:] for entry in entries)
    return len(entries), sum(int(one[0]) for one in lengths if one and one[0].isdigit())
