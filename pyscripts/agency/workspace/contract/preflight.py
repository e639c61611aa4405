"""Pre-flight: what must hold of a repository before work begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, UsageError
from agency.programs import ProgramError
from agency.workspace.contract.repository import Checkout

MAX_SLUG = 60
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
_MOST_SHOWN = 5


class PreflightError(BadInputError):
    """Fault of a repository in which no work begins."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A repository that is ready: where its HEAD is, and its branches and tags."""

    base: str
    origin_branch: str | None
    refs: dict[str, str]


def branch_name(prefix: str, slug: str) -> str:
    """Return the branch of a task.

    Raises:
        UsageError: the slug is none.
    """
    if len(slug) > MAX_SLUG or not _SLUG.match(slug):
        raise UsageError(
            f"{slug[:MAX_SLUG]!r} is no slug",
            where="--slug",
            hint=f"1 to {MAX_SLUG} of a-z, 0-9 and inner dashes",
        )
    return prefix + slug


def find_repository(repos: Path, name: str) -> Path:
    """Return the directory of a repository directly below `.repos`.

    Raises:
        UsageError: the name is a path. PreflightError: it is missing, or leads elsewhere.
    """
    if name in {"", ".", ".."} or "/" in name or name.startswith("-"):
        raise UsageError(f"{name[:60]!r} is no name of a repository", where="--repository")
    place = repos / name
    for path in (repos, place, place / ".git"):
        if path.is_symlink():
            raise PreflightError(
                "is a symbolic link, and is not followed",
                where=str(path),
                hint="clone the repository itself to that place",
            )
        if not path.is_dir():
            raise PreflightError(
                "there is no repository here", where=str(path), hint=f"clone it to {place}"
            )
    return place


def clear(checkout: Checkout) -> Cleared:
    """Check the repository: its own work tree, a commit, nothing uncommitted, a remote.

    Raises:
        PreflightError: one of these does not hold.
    """
    where, place = str(checkout.place), checkout.place.resolve()
    try:
        top = Path(checkout.must("rev-parse", "--show-toplevel"))
        folder = Path(checkout.must("rev-parse", "--absolute-git-dir"))
        common = checkout.place / checkout.must("rev-parse", "--git-common-dir")
        if top != place or folder != place / ".git" or common.resolve() != folder:
            raise PreflightError("its work tree or its repository is elsewhere", where=where)
        head = checkout.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if head.status != 0:
            raise PreflightError("has no commit yet", where=where, hint="commit something first")
        changes = checkout.changes()
        reached = checkout.reaches_remote()
    except ProgramError as error:
        raise PreflightError(error.message, where=where) from error
    if changes:
        shown = ", ".join(change[3:] for change in changes[:_MOST_SHOWN])
        raise PreflightError(
            f"has {len(changes)} changes that are not committed: {shown}",
            where=where,
            hint="commit or stash them",
        )
    if reached.status != 0:
        raise PreflightError(
            f"its remote cannot be read: {reached.reason}",
            where=where,
            hint="check the remote `origin` and the network",
        )
    return Cleared(head.stdout.decode().strip(), checkout.branch(), checkout.refs())


def enter(checkout: Checkout, cleared: Cleared, branch: str) -> None:
    """Go to the branch of the task; make it where it is missing.

    Raises:
        ProgramError: git failed.
    """
    if f"refs/heads/{branch}" in cleared.refs:
        checkout.must("switch", "--quiet", "--no-guess", branch)
    else:
        checkout.must("switch", "--quiet", "--no-track", "--create", branch, cleared.base)
