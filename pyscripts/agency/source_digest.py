"""Digest of a source tree, such that anyone can recompute it with common tools.

One record a file, `<mode> <sha256 of content> <path>` and a NUL, sorted by the bytes of the path;
the digest is the SHA-256 of all records. Modes are git's: 100644, 100755 where the owner may
execute, 120000 for a symbolic link, whose content is its target. Times, owners, other permission
bits and the order in a directory do not matter. docs/transcript.md gives it as a shell command.

In a git checkout the files are those that git tracks or would track (what .gitignore names is
left out); elsewhere all files but __pycache__.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError
from agency.programs import ProgramError, run_program

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SourceDigest:
    """Digest of a tree of `files` files; commit and tree where it is a git checkout.

    `dirty` is true when the files are not exactly those of the commit, and outside git, where
    there is no commit to compare with.
    """

    sha256: str
    git_commit: str | None
    git_tree: str | None
    dirty: bool
    files: int

    def digest_set(self) -> dict[str, str]:
        """Return the digests as an in-toto DigestSet, with git's only when the tree is clean."""
        digests = {"sha256": self.sha256}
        if not self.dirty and self.git_commit is not None and self.git_tree is not None:
            digests |= {"gitCommit": self.git_commit, "gitTree": self.git_tree}
        return digests


def source_root() -> Path:
    """Find this program's own source: its checkout, or its package where it is installed."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1]
    is_checkout = (checkout / "pyproject.toml").is_file() and package.parent.name == "pyscripts"
    return checkout if is_checkout else package


def source_digest(root: Path) -> SourceDigest:
    """Compute the digest of the tree at `root`.

    Raises:
        PrerequisiteError: git is needed and not installed, or a file cannot be read.
        ProgramError: git refuses the checkout, for example one that belongs to another user.
        BadInputError: the tree holds an entry without digest, such as another git repository.
    """
    digest, files = _digest(root, source_files(root))
    if not (root / ".git").exists():
        return SourceDigest(digest, None, None, dirty=True, files=files)
    status = _git(root, "status", "--porcelain", "-z", "--untracked-files=all")
    commit = _revision(root, "HEAD^{commit}")
    return SourceDigest(
        sha256=digest,
        git_commit=commit,
        git_tree=_revision(root, "HEAD^{tree}"),
        dirty=commit is None or bool(status),
        files=files,
    )


def source_files(root: Path) -> list[str]:
    """List the files that the digest of the tree covers, sorted by their bytes.

    Raises:
        PrerequisiteError: git is needed and not installed, or a directory cannot be read.
        ProgramError: git refuses the checkout.
    """
    found = _listed(root) if (root / ".git").exists() else _walked(root)
    return sorted(found, key=os.fsencode)


def _git(root: Path, *arguments: str) -> bytes:
    """Run git on `root` alone: no variables that point elsewhere, no locks, no monitor programs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    argv = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root)]
    hint = "install git; it must be able to read this checkout"
    return run_program([*argv, *arguments], timeout=_TIMEOUT_S, env=env, hint=hint)


def _revision(root: Path, name: str) -> str | None:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", name).decode().strip()
    except ProgramError:
        return None  # no commit yet


def _listed(root: Path) -> Iterator[str]:
    output = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in set(os.fsdecode(output).split("\0")) - {""}:
        if os.path.lexists(root / path):  # else tracked and deleted
            yield path


def _walked(root: Path) -> Iterator[str]:
    for directory, names, files in os.walk(root, onerror=_unreadable):
        names[:] = [name for name in names if name != "__pycache__"]
        links = [name for name in names if (Path(directory) / name).is_symlink()]
        for name in [*files, *links]:
            yield str((Path(directory) / name).relative_to(root))


def _unreadable(error: OSError) -> None:
    raise PrerequisiteError(
        f"cannot be read: {error.strerror}", where=str(error.filename)
    ) from error


def _digest(root: Path, paths: Iterable[str]) -> tuple[str, int]:
    whole, count = hashlib.sha256(), 0
    for path in sorted(paths, key=os.fsencode):
        try:
            mode, content = _file(root / path)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be read: {error.strerror or error}", where=path
            ) from error
        whole.update(b"%b %b %b\0" % (mode.encode(), content.encode(), os.fsencode(path)))
        count += 1
    return whole.hexdigest(), count


def _file(path: Path) -> tuple[str, str]:
    """Describe a file: its mode as git writes it, and the SHA-256 of its content."""
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        target = os.readlink(path)  # noqa: PTH115 - Path.readlink tidies the text
        return "120000", hashlib.sha256(os.fsencode(target)).hexdigest()
    if not stat.S_ISREG(facts.st_mode):
        raise BadInputError(
            "neither a file nor a symbolic link, so the tree has no digest",
            where=str(path),
            hint="move it out of the tree, or name it in .gitignore",
        )
    with path.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    return ("100755" if facts.st_mode & stat.S_IXUSR else "100644"), content
