"""What a sandbox is to run: a directory, or one commit of a git repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, UsageError
from agency.programs import run_program

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_CLONE_S = 300.0
_NEEDED = ("pyproject.toml", "requirements/guest.txt", "modules/portable")


@dataclass(frozen=True, slots=True)
class Source:
    """A directory, or a repository (path or URL) at a commit."""

    asked: str
    place: str
    commit: str | None


def parse_source(text: str) -> Source:
    """Read DIR or GIT@SHA; the SHA is written out, so that it is one commit for ever.

    Raises:
        UsageError: neither.
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
    """The directory with the source's files: itself, or a checkout made in `into`.

    Raises:
        ProgramError: git could not get that commit.
        BadInputError: it is not a checkout of this project.
    """
    directory = Path(source.place).resolve() if source.commit is None else into / "checkout"
    if source.commit is not None:
        # Only transports that run no program; no credentials are asked for; no hooks are run.
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(into),
            "GIT_ALLOW_PROTOCOL": "file:https:ssh",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        hint = "is the commit in that repository, and may this user read it?"
        clone = ("git", "clone", "--quiet", "--no-checkout", "--", source.place, str(directory))
        run_program(clone, timeout=_CLONE_S, env=env, hint=hint)
        checkout = ("git", "-C", str(directory), "-c", "core.hooksPath=/dev/null", "checkout")
        run_program(
            (*checkout, "--quiet", "--detach", source.commit), timeout=_CLONE_S, env=env, hint=hint
        )
    missing = [name for name in _NEEDED if not (directory / name).exists()]
    if missing:
        raise BadInputError(
            f"not a checkout of this project: it has no {', '.join(missing)}",
            where=source.asked,
            hint="name the root of a checkout",
        )
    return directory
