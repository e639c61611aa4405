"""Stores and trees put back in place, with their owners; what was there goes only at the end.

Each step can be repeated: what an interrupted one left beside its target is removed first.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agency.backup.manifest import Included, Manifest
from agency.errors import PrerequisiteError
from agency.workspace import protect

_FRESH, _OLD = ".restoring", ".before"


@dataclass(frozen=True, slots=True)
class Owners:
    """Owners of this machine for the numbers of the machine that was backed up."""

    users: Mapping[int, int]
    groups: Mapping[int, int]

    @classmethod
    def of(cls, manifest: Manifest) -> Owners:
        """Find the users and groups of the manifest here, by their names."""
        return cls(
            _here(manifest.users, lambda name: pwd.getpwnam(name).pw_uid),
            _here(manifest.groups, lambda name: grp.getgrnam(name).gr_gid),
        )

    def give(self, path: Path, uid: int, gid: int) -> None:
        """Give a file to the owner that it had, whatever that owner's number is here."""
        os.chown(path, self.users.get(uid, uid), self.groups.get(gid, gid), follow_symlinks=False)


def _here(names: Mapping[int, str], number_of: Callable[[str], int]) -> dict[int, int]:
    found = {}
    for number, name in names.items():
        with suppress(KeyError):  # unknown here: it keeps its number
            found[number] = number_of(name)
    return found


def put_store(copy: Path, part: Included, owners: Owners) -> None:
    """Replace a store by its copy; its process must not run.

    Raises:
        PrerequisiteError: the place cannot be written.
    """
    target = Path(part.source)
    fresh = _beside(target, _FRESH)
    with _told(target):
        _make_parent(target, part, owners)
        fresh.unlink(missing_ok=True)
        shutil.copyfile(copy, fresh)
        fresh.chmod(part.mode)
        owners.give(fresh, part.uid, part.gid)
        with fresh.open("rb") as handle:
            os.fsync(handle.fileno())
        # A log of the old store would be applied to the new one.
        for suffix in ("-wal", "-shm", "-journal"):
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
        fresh.replace(target)
        _sync(target.parent)


def _make_parent(target: Path, part: Included, owners: Owners) -> None:
    """Make the directory of a service that never ran here; systemd takes it as it is."""
    if not target.parent.exists():
        target.parent.mkdir(mode=0o700, parents=True)
        owners.give(target.parent, part.uid, part.gid)


def put_tree(extracted: Path, part: Included, owners: Owners) -> None:
    """Replace a tree by the extracted one.

    Raises:
        PrerequisiteError: the place cannot be written.
    """
    target = Path(part.source)
    fresh, old = _beside(target, _FRESH), _beside(target, _OLD)
    with _told(target):
        _give_all(extracted, owners)
        for left in (fresh, old):
            _remove(left)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _move(extracted, fresh)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        _sync(target.parent)
        _remove(old)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}{suffix}")


def _give_all(tree: Path, owners: Owners) -> None:
    """Give each file to its owner here, where that has another number."""
    for path in (tree, *_below(tree)):
        facts = path.lstat()
        uid, gid = facts.st_uid, facts.st_gid
        if (owners.users.get(uid, uid), owners.groups.get(gid, gid)) != (uid, gid):
            owners.give(path, uid, gid)
            if not path.is_symlink():
                path.chmod(facts.st_mode & 0o7777)  # a change of owner clears set-id bits


def _below(tree: Path) -> Iterator[Path]:
    for directory, folders, files in os.walk(tree):
        yield from (Path(directory) / name for name in (*folders, *files))


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:  # another file system
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_with_owner)
        for path in (source, *_below(source)):
            facts = path.lstat()
            there = target / path.relative_to(source)
            os.chown(there, facts.st_uid, facts.st_gid, follow_symlinks=False)
            if not path.is_symlink():
                there.chmod(facts.st_mode & 0o7777)
        shutil.rmtree(source)


def _copy_with_owner(source: str, target: str) -> str:
    return str(shutil.copy2(source, target, follow_symlinks=False))


def _remove(tree: Path) -> None:
    if not tree.exists():
        return
    for path in _below(tree):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                protect(descriptor, 0)  # the agents' audit log is append-only
            finally:
                os.close(descriptor)
    shutil.rmtree(tree)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be put back: {error.strerror or error}",
            where=str(target),
            hint="mend that, and run the same restore again",
        ) from error
