"""Place of a new instance: a directory that does not exist, or one that is filled in place.

A directory that exists is never replaced: a shell may be in it, or a repository's history.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError
from agency.files import rewrite
from agency.instance.load import GENERATED, INSTANCE_FILE
from agency.instance.making import flake
from agency.secrets import sops

# Files to which only lines are added, as a repository may have them already.
LINES = {
    ".gitignore": b"# Private keys never belong in git.\n*.key\n*.age\n",
    ".gitattributes": (
        b"# Digests are over the bytes of these files: git must not change line ends.\n"
        b"instance.yaml -text\n.sops.yaml -text\ngenerated/** -text\nsecrets/** -text\n"
    ),
}
# Written in this order, so that the file that makes it an instance is the last one.
_OWN = (sops.SECRETS_FILE, sops.CONFIG_FILE, GENERATED, INSTANCE_FILE)


def refuse_to_overwrite(root: Path) -> None:
    """Refuse a place where a file of an instance exists, or which cannot be a directory.

    Raises:
        BadInputError: something of an instance is there.
        PrerequisiteError: the directory above is missing.
    """
    if not root.is_dir():
        if root.exists() or root.is_symlink():
            raise BadInputError(
                "exists and is not a directory; nothing is overwritten",
                where=str(root),
                hint="name a directory",
            )
        if not root.parent.is_dir():
            raise PrerequisiteError(
                "the directory to make the instance in does not exist",
                where=str(root.parent),
                hint=f"`mkdir -p {root.parent}` first",
            )
        return
    present = [str(name) for name in _OWN if _is_taken(root / name)]
    present += [name for name in LINES if _is_taken(root / name) and not _is_file(root / name)]
    if present:
        raise BadInputError(
            f"it has {', '.join(sorted(present))} already; nothing is overwritten",
            where=str(root),
            hint="name another directory, or move what is named away",
        )


def _is_taken(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@dataclass(slots=True)
class Place:
    """The directory of a new instance."""

    root: Path

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Make a directory on the same file system for the time of a block."""
        parent = self.root if self.root.is_dir() else self.root.parent
        fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".{self.root.name}.new."))
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def publish(self, fresh: Path) -> None:
        """Put what was made into its place; if that fails, take back what was put there."""
        if not self.root.is_dir():
            fresh.chmod(0o755)
            # Fails on a directory that has got a file in the meantime.
            fresh.rename(self.root)
            return
        with contextlib.ExitStack() as undo:
            self._fill(fresh, undo)
            undo.pop_all()  # from here on, all of it stays

    def _fill(self, fresh: Path, undo: contextlib.ExitStack) -> None:
        for name, lines in LINES.items():
            _add_lines(self.root / name, lines, undo)
        for name in flake.FILES:
            if not _is_taken(self.root / name):  # else it is the operator's
                _put(fresh / name, self.root / name, undo)
        for name in _OWN:
            source, target = fresh / name, self.root / name
            if not target.parent.exists():
                target.parent.mkdir()
                undo.callback(target.parent.rmdir)
            _put(source, target, undo)


def _put(source: Path, target: Path, undo: contextlib.ExitStack) -> None:
    """Move without replacing, or taking back, anything that has come in the meantime."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        source.rename(target)  # fails on a directory with files
    else:
        with target.open("xb") as handle:
            undo.callback(_take_back, target)
            handle.write(source.read_bytes())
        return
    undo.callback(_take_back, target)


def _take_back(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _add_lines(target: Path, lines: bytes, undo: contextlib.ExitStack) -> None:
    if not target.exists():
        undo.callback(target.unlink, missing_ok=True)
        target.write_bytes(lines)
        return
    before = target.read_bytes()
    have = set(before.splitlines())
    missing = [line for line in lines.splitlines() if line not in have]
    if missing:
        undo.callback(rewrite, target, before)
        joint = b"" if before.endswith(b"\n") or not before else b"\n"
        rewrite(target, before + joint + b"\n".join(missing) + b"\n")
