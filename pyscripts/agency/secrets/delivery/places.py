"""Putting secrets into files of a directory in memory, without following what lies in the way.

Every step down goes through an open directory, so that no symbolic link is followed and nothing
can be exchanged under the writer's hands.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError

DIRECTORY_MODE = 0o751
MAX_BYTES = 1024 * 1024

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = 0o022
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is, by number."""

    uid: int
    gid: int


def file_system_of(descriptor: int) -> str:
    """The type of the file system that an open file lies on, or "unknown"."""
    device = os.fstat(descriptor).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return "unknown"


@contextlib.contextmanager
def open_place(
    directory: Path, *, file_system: Callable[[int], str] = file_system_of
) -> Iterator[int]:
    """An open directory for secrets; missing parts of its path are made (0751).

    Raises:
        PrerequisiteError: a link or another thing is in the way, others may write in it, or it is
            not in memory.
    """
    where = str(directory)
    descriptor = os.open("/", _STEP)
    try:
        for part in directory.parts[1:]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, DIRECTORY_MODE, dir_fd=descriptor)
                os.chmod(part, DIRECTORY_MODE, dir_fd=descriptor, follow_symlinks=False)
            below = os.open(part, _STEP, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
            raise PrerequisiteError(
                "others may write in the directory of secrets",
                where=where,
                hint="give it to root, with mode 0751",
            )
        found = file_system(descriptor)
        if found not in _IN_MEMORY:
            raise PrerequisiteError(
                f"lies on {found}: secrets are put into memory only",
                where=where,
                hint="name a directory below /run, which is a tmpfs",
            )
        yield descriptor
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be used as the directory of secrets: {error.strerror or error}",
            where=where,
            hint="no part of its path may be a symbolic link or a file",
        ) from error
    finally:
        os.close(descriptor)


def read(directory: int, name: str) -> bytes | None:
    """The content of a regular file; None for anything else and for what is not there."""
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            return None
        return handle.read(MAX_BYTES + 1)


def is_as_wanted(directory: int, name: str, data: bytes, owner: Owner, mode: int) -> bool:
    """Whether the file has this content, owner and mode, and no second name."""
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
    """Replace a file in one step; it is never open to more than its owner and mode say.

    Raises:
        BadInputError: it cannot be written; what was there is whole.
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
    """Remove every file and link that is not to be kept; directories stay. Gives their names."""
    removed = []
    for entry in sorted(os.listdir(directory)):
        status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        if entry not in keep and not stat.S_ISDIR(status.st_mode):
            os.unlink(entry, dir_fd=directory)
            removed.append(entry)
    return tuple(removed)
