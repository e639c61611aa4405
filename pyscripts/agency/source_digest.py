"""Digest of a source tree, such that anyone can recompute it with common tools.

One record a file, `<mode> <sha256 of content> <path>` and a NUL, sorted by the bytes of the path;
the digest is the SHA-256 of all records. Modes are git's: 100644, 100755 where the owner may
execute, 120000 for a symbolic link, whose content is its target. Times, owners, other permission
bits and the order in a directory do not matter. docs/transcript.md gives it as a shell command.

Left out is what the tree's own .gitignore names, and no other list: neither settings of git nor
files below .git decide. In a git checkout what git tracks is always in; elsewhere __pycache__ is
always out. So a checkout and an archive of the same files have the same digest.

Nothing that the tree names is run: git lists paths and prints a commit, whose id is computed here
again, like that of the tree. A setting or flag that hides a change from `git status` hides nothing.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agency.errors import BadInputError, PrerequisiteError
from agency.programs import ProgramError, run_program

SOURCE_VARIABLE = "AGENCY_SOURCE"
_TIMEOUT_S = 60.0
_IGNORE_FILE = ".gitignore"
_NO_DIGEST = "neither a file nor a symbolic link, so the tree has no digest"


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


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a tree: its path in it, its mode as git writes it, and what it holds."""

    path: str
    mode: str
    content: bytes

    @property
    def is_link(self) -> bool:
        """Return whether it is a symbolic link; the content is then its target."""
        return self.mode == "120000"

    @property
    def is_executable(self) -> bool:
        """Return whether its owner may execute it."""
        return self.mode == "100755"


def source_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Find this program's own source: its checkout, or its package where it is installed.

    An installed program that was built from a tree which is still there, as Nix does it, is told
    so by AGENCY_SOURCE. It is believed only if that tree has this very program.

    Raises:
        PrerequisiteError: the tree is not this program's source.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parents[1]
    if (checkout / "pyproject.toml").is_file() and package.parent.name == "pyscripts":
        return checkout
    named = environ.get(SOURCE_VARIABLE)
    return _built_from(Path(named), package) if named else package


@cache
def _built_from(tree: Path, package: Path) -> Path:
    source = tree / "pyscripts" / package.name
    if not source.is_dir() or _programs(source) != _programs(package):
        raise PrerequisiteError(
            "it is not the source that this program was built from",
            where=f"${SOURCE_VARIABLE}: {tree}",
            hint="unset it, or run the program that was built from that tree",
        )
    return tree


def _programs(package: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(package)): hashlib.sha256(file.read_bytes()).digest()
        for file in package.rglob("*.py")
    }


def source_digest(root: Path) -> SourceDigest:
    """Compute the digest of the tree at `root`; raises as `read_source` does."""
    return digest_of(root, read_source(root))


def digest_of(root: Path, files: Iterable[SourceFile]) -> SourceDigest:
    """Compute the digest of files that were read from `root`, in the order of `read_source`."""
    found = list(files)
    whole = hashlib.sha256()
    for file in found:
        content = hashlib.sha256(file.content).hexdigest().encode()
        whole.update(b"%b %b %b\0" % (file.mode.encode(), content, os.fsencode(file.path)))
    commit, tree = _head(root) or (None, None)
    dirty = tree is None or tree != git_tree_id(found, _algorithm_of(tree))
    return SourceDigest(whole.hexdigest(), commit, tree, dirty=dirty, files=len(found))


def read_source(root: Path) -> Iterator[SourceFile]:
    """Read every file that the digest of the tree covers, sorted by the bytes of their paths.

    Raises:
        PrerequisiteError: git is needed and not installed, or a file cannot be read.
        ProgramError: git refuses the checkout, for example one that belongs to another user.
        BadInputError: the tree holds an entry without digest, such as another git repository.
    """
    for path in source_files(root):
        try:
            yield _file(root, path)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be read: {error.strerror or error}", where=path
            ) from error


def source_files(root: Path) -> list[str]:
    """List the files that the digest of the tree covers, sorted by their bytes.

    Raises:
        PrerequisiteError: git is needed and not installed, or a directory cannot be read.
        ProgramError: git refuses the checkout.
        BadInputError: outside git, a line of .gitignore that only git can apply.
    """
    found = _listed(root) if _is_checkout(root) else _walked(root)
    return sorted(found, key=os.fsencode)


def git_tree_id(files: Iterable[SourceFile], algorithm: str = "sha1") -> str:
    """Compute the id that git gives to a tree of exactly these files.

    Source: git's object format (gitformat-pack, `git hash-object`): a directory sorts as its name
    with a slash.
    """
    whole: dict[str, Any] = {}
    for file in files:
        *directories, name = file.path.split("/")
        place = whole
        for directory in directories:
            place = place.setdefault(directory, {})
        place[name] = (file.mode, _object_id("blob", file.content, algorithm))
    return _tree_id(whole, algorithm)


def _tree_id(entries: Mapping[str, Any], algorithm: str) -> str:
    lines: list[tuple[bytes, bytes]] = []
    for name, entry in entries.items():
        if isinstance(entry, dict):
            mode, identity, order = "40000", _tree_id(entry, algorithm), os.fsencode(name) + b"/"
        else:
            (mode, identity), order = entry, os.fsencode(name)
        line = b"%b %b\0%b" % (mode.encode(), os.fsencode(name), bytes.fromhex(identity))
        lines.append((order, line))
    return _object_id("tree", b"".join(line for _, line in sorted(lines)), algorithm)


def _object_id(kind: str, content: bytes, algorithm: str) -> str:
    header = f"{kind} {len(content)}\0".encode()
    return hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest()


def _algorithm_of(identity: str) -> str:
    return "sha256" if len(identity) == 64 else "sha1"


def _is_checkout(root: Path) -> bool:
    return os.path.lexists(root / ".git")


def _git(root: Path, *arguments: str) -> bytes:
    """Run git on `root` so that it runs nothing in turn and looks nowhere else.

    No variables that lead elsewhere, no replaced objects, no monitor, no hook, and no transport:
    a missing object is not fetched, for a fetch runs what the checkout's settings name.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    argv = ["git", "--no-optional-locks", "--no-replace-objects", "--literal-pathspecs"]
    for setting in ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.ignoreCase=false"):
        argv += ["-c", setting]
    argv += ["-C", str(root)]
    hint = "install git; it must be able to read this checkout"
    return run_program([*argv, *arguments], timeout=_TIMEOUT_S, env=env, hint=hint)


def _head(root: Path) -> tuple[str, str] | None:
    """Return the ids of the checked-out commit and its tree; None where there is none.

    None too where git's own idea of this checkout is another directory.
    """
    if not _is_checkout(root):
        return None
    try:
        about = _git(root, "rev-parse", "--show-object-format", "--show-toplevel")
        content = _git(root, "cat-file", "commit", "HEAD")
    except ProgramError:
        return None  # no commit yet, or no work tree here
    algorithm, _, top = about.decode(errors="surrogateescape").strip("\n").partition("\n")
    tree = content.partition(b"\n")[0].removeprefix(b"tree ").decode(errors="replace")
    if Path(top).resolve() != root.resolve() or algorithm not in ("sha1", "sha256"):
        return None
    return _object_id("commit", content, algorithm), tree


def _listed(root: Path) -> Iterator[str]:
    ignored = (f"--exclude-from={_IGNORE_FILE}",) if _has_ignore_file(root) else ()
    options = (f"--work-tree={root.resolve()}", "ls-files", "-z", "--cached", "--others")
    output = _git(root, *options, *ignored)
    for path in set(os.fsdecode(output).split("\0")) - {""}:
        if os.path.lexists(root / path):  # else tracked and deleted
            yield path


def _has_ignore_file(root: Path) -> bool:
    """Return whether the tree has a list of what to leave out, in a file that is in its digest."""
    path = root / _IGNORE_FILE
    return path.is_file() and not path.is_symlink()


@dataclass(frozen=True, slots=True)
class _Ignored:
    """A line of .gitignore that needs no git: a pattern of one name, anywhere or at the top."""

    pattern: str
    directory: bool
    top: bool

    def matches(self, name: str, *, directory: bool, top: bool) -> bool:
        if (self.directory and not directory) or (self.top and not top):
            return False
        return fnmatch.fnmatchcase(name, self.pattern)


_CACHES = _Ignored("__pycache__", directory=True, top=False)


def _ignored(root: Path) -> list[_Ignored]:
    """Read the tree's .gitignore.

    Raises:
        BadInputError: a line that is more than a pattern of one name.
    """
    lines = (root / _IGNORE_FILE).read_text().splitlines() if _has_ignore_file(root) else []
    found = [_CACHES]
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        top, text = line.startswith("/"), line.removeprefix("/")
        pattern = text.removesuffix("/")
        if "/" in pattern or "\\" in pattern or line.startswith("!") or line != line.strip():
            raise BadInputError(
                "outside git only patterns of one name can be applied",
                where=f"{root / _IGNORE_FILE}:{number}",
                hint="write a name such as artifacts/ or *.pyc",
            )
        found.append(_Ignored(pattern, directory=text != pattern, top=top))
    return found


def _walked(root: Path) -> Iterator[str]:
    ignored = _ignored(root)
    for place, names, files in os.walk(root, onerror=_unreadable):
        here, top = Path(place), Path(place) == root
        links = [name for name in names if (here / name).is_symlink()]
        names[:] = [
            name
            for name in names
            if name not in links
            and not any(each.matches(name, directory=True, top=top) for each in ignored)
        ]
        for name in (*files, *links):
            if not any(each.matches(name, directory=False, top=top) for each in ignored):
                yield str((here / name).relative_to(root))


def _unreadable(error: OSError) -> None:
    raise PrerequisiteError(
        f"cannot be read: {error.strerror}", where=str(error.filename)
    ) from error


def _file(root: Path, path: str) -> SourceFile:
    """Read a file, or the target of a symbolic link."""
    place = root / path
    facts = place.lstat()
    if stat.S_ISLNK(facts.st_mode):
        target = os.readlink(place)  # noqa: PTH115 - Path.readlink tidies the text
        return SourceFile(path, "120000", os.fsencode(target))
    if not stat.S_ISREG(facts.st_mode):
        raise BadInputError(
            _NO_DIGEST,
            where=str(place),
            hint="move it out of the tree, or name it in .gitignore",
        )
    mode = "100755" if facts.st_mode & stat.S_IXUSR else "100644"
    return SourceFile(path, mode, place.read_bytes())
