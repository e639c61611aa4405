"""Files below an open directory, for programs that work where other users may write.

Every name is resolved relative to an open directory and never through a symbolic link. `give`
checks and changes a file through one descriptor.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

from agency.errors import AgencyError, BadInputError

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_BYTES = 1024 * 1024


class GuardedError(AgencyError):
    """Error of a file or directory that changed after it was checked, or of a refused step."""


class Kind(Enum):
    """Kinds of directory entries."""

    ABSENT = "absent"
    DIRECTORY = "a directory"
    FILE = "a file"
    LINK = "a symbolic link"
    OTHER = "neither a file nor a directory"


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a name, read without following a link; `mode` is its permission bits."""

    kind: Kind
    uid: int = -1
    gid: int = -1
    mode: int = 0
    links: int = 0
    empty: bool = False

    @property
    def owner(self) -> str:
        """Uid and gid, as a plan shows them."""
        return f"{self.uid}:{self.gid}"


NOTHING = Seen(Kind.ABSENT)


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of a file: uid and gid."""

    uid: int
    gid: int


@contextmanager
def directory(path: Path) -> Iterator[int]:
    """Open a directory to which only trusted users had access."""
    with _told(str(path)):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def subdirectory(parent: int, name: str) -> Iterator[int]:
    """Open a directory below another; refuse a symbolic link."""
    with _told(name):
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def look(parent: int, name: str) -> Seen:
    """Read the facts about `name`."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return NOTHING
    return _seen(found, empty=stat.S_ISDIR(found.st_mode) and _is_empty(parent, name))


def _is_empty(parent: int, name: str) -> bool:
    try:
        with subdirectory(parent, name) as descriptor:
            return _holds_nothing(descriptor)
    except AgencyError:
        return False  # replaced in the meantime


def _holds_nothing(descriptor: int) -> bool:
    with os.scandir(descriptor) as entries:
        return next(entries, None) is None


def _seen(found: os.stat_result, *, empty: bool) -> Seen:
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        kind = Kind.DIRECTORY
    elif stat.S_ISREG(mode):
        kind = Kind.FILE
    else:
        kind = Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER
    return Seen(kind, found.st_uid, found.st_gid, stat.S_IMODE(mode), found.st_nlink, empty)


def may_be_given(seen: Seen) -> bool:
    """Return whether giving this to a user discloses only what that user could read before.

    A user who may write the directory may rename or link another user's file to a name that is
    given away.
    """
    if seen.kind is Kind.DIRECTORY:
        return seen.empty or seen.mode & 0o005 == 0o005
    return seen.kind is Kind.FILE and seen.links == 1 and bool(seen.mode & 0o004)


def make_directory(parent: int, name: str, *, uid: int, gid: int) -> None:
    """Make a directory with mode 0700 for a user; raises GuardedError if the name is taken."""
    with _told(name):
        os.mkdir(name, 0o700, dir_fd=parent)
    give(parent, name, uid=uid, gid=gid)


def make_file(parent: int, name: str, data: bytes, *, uid: int, gid: int) -> None:
    """Write a whole file with mode 0600 under a free name; nothing is overwritten.

    The file gets its name when it is complete and belongs to the user: a crash leaves nothing.
    """
    with _told(name):
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as handle:
                handle.write(data)
                handle.flush()
            os.fchown(descriptor, uid, gid)
            os.fsync(descriptor)
            os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(descriptor)


def give(parent: int, name: str, *, uid: int, gid: int, trusted: bool = False) -> None:
    """Give a file or directory to a user, unless that tells the user something new.

    With `trusted`, only trusted users had access to it: then it is given in any case.
    """
    with _told(name):
        descriptor = os.open(name, _FILE, dir_fd=parent)
        try:
            found = os.fstat(descriptor)
            empty = stat.S_ISDIR(found.st_mode) and _holds_nothing(descriptor)
            known = trusted or found.st_uid == uid
            if not (known or may_be_given(_seen(found, empty=empty))):
                raise GuardedError("it has changed since it was examined", where=name)
            os.fchown(descriptor, uid, gid)
        finally:
            os.close(descriptor)


def set_mode(parent: int, name: str, mode: int) -> None:
    """Set the permission bits of a directory."""
    with subdirectory(parent, name) as descriptor, _told(name):
        os.fchmod(descriptor, mode)


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GuardedError(error.strerror or str(error), where=where) from error


def read(directory: int, name: str) -> bytes | None:
    """Read a regular file; None if the name is free or is anything else."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # fdopen takes no directory
        return None
    with os.fdopen(descriptor, "rb") as handle:
        return handle.read(MAX_BYTES + 1)


def is_as_wanted(directory: int, name: str, data: bytes, owner: Owner, mode: int) -> bool:
    """Return whether the file has this content, owner and mode, and no second link."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and stat.S_IMODE(status.st_mode) == mode
        and (status.st_uid, status.st_gid) == (owner.uid, owner.gid)
        and read(directory, name) == data
    )


def write(directory: int, name: str, data: bytes, owner: Owner, mode: int) -> None:
    """Replace a file in one step; at no time is it open to more than its owner and mode say.

    Raises:
        BadInputError: the file cannot be written; the old file stays intact.
    """
    temporary = f".{name}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(temporary, _MAKE, 0o600, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fchown(handle.fileno(), owner.uid, owner.gid)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise BadInputError(f"cannot be written: {error.strerror or error}", where=name) from error


def remove_others(directory: int, keep: frozenset[str]) -> tuple[str, ...]:
    """Remove every file and link that is not in `keep`; return their names. Directories stay."""
    removed = []
    for entry in sorted(os.listdir(directory)):
        status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        if entry not in keep and not stat.S_ISDIR(status.st_mode):
            os.unlink(entry, dir_fd=directory)
            removed.append(entry)
    return tuple(removed)


class Directory:
    """An open directory. Names in it are not paths, and no link is followed."""

    def __init__(self, path: Path) -> None:
        """Open the directory; raises OSError."""
        self.path = path
        self.descriptor = os.open(path, DIRECTORY_FLAGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory."""
        os.close(self.descriptor)

    def names(self) -> list[str]:
        """List its entries."""
        return os.listdir(self.descriptor)  # noqa: PTH208 - of the open directory, wherever it is

    def open(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o640) -> int:
        """Open a file in it; returns the descriptor. Raises OSError."""
        full = flags | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, full, mode, dir_fd=self.descriptor)

    def exists(self, name: str) -> bool:
        """Return whether the name is taken."""
        return name in self.names()

    def rename(self, old: str, new: str) -> None:
        """Rename a file; raise FileExistsError rather than replace another."""
        if self.exists(new):
            raise FileExistsError(new)
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Flush the names to disk."""
        os.fsync(self.descriptor)

    def where(self, name: str) -> str:
        """Return the path of a file, for messages."""
        return str(self.path / name)
