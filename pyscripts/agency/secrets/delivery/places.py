"""The directory of installed secrets: in memory, and opened without following a link."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.guarded import DIRECTORY_FLAGS

DIRECTORY_MODE = 0o751

_OTHERS_WRITE = 0o022
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")


def file_system_of(descriptor: int) -> str:
    """Return the type of the file system that an open file lies on, or "unknown"."""
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
    """Open a directory for secrets; create missing parts of its path (0751).

    Raises:
        PrerequisiteError: a part of the path is a link or no directory, other users may write
            there, or the directory is not in memory.
    """
    where = str(directory)
    descriptor = os.open("/", DIRECTORY_FLAGS)
    try:
        for part in directory.parts[1:]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, DIRECTORY_MODE, dir_fd=descriptor)
                os.chmod(part, DIRECTORY_MODE, dir_fd=descriptor, follow_symlinks=False)
            below = os.open(part, DIRECTORY_FLAGS, dir_fd=descriptor)
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
