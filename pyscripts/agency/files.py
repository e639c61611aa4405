"""Atomic writes: a reader never sees half a file, also after a crash; and whether one is there."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError


def _cannot_write(path: Path, error: OSError) -> AgencyError:
    return PrerequisiteError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint="check the permissions and the free space of that directory; nothing was changed",
    )


def is_absent(path: Path) -> bool:
    """Return whether there is surely no file; why one is hidden is for its reader to tell.

    `Path.exists` raises PermissionError, or from Python 3.14 on says that there is none.
    """
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data` in one step; the file never exists with wider rights than `mode`.

    Raises:
        PrerequisiteError: the place cannot be written; the old file is intact.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), mode)
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def rewrite(path: Path, data: bytes) -> None:
    """Replace the content of an existing file in one step: through links; mode and owner stay.

    Raises:
        PrerequisiteError: the place cannot be written; the old file is intact.
    """
    try:
        target = path.resolve(strict=True)
        status = target.stat()
        write_atomically(target, data, mode=stat.S_IMODE(status.st_mode))
        if os.geteuid() == 0:
            os.chown(target, status.st_uid, status.st_gid)
    except OSError as error:
        raise _cannot_write(path, error) from error


def private_directory(path: Path) -> None:
    """Make a directory that this user alone may write, where it is missing.

    Raises:
        PrerequisiteError: it is there, and others may write to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise PrerequisiteError(
            "others may write to this directory",
            where=str(path),
            hint="remove it: it is made again",
        )


def write_tree_atomically(
    directory: Path, files: Mapping[str, bytes], *, mode: int = 0o644
) -> None:
    """Make `directory` hold exactly `files` (relative POSIX path to content).

    The new tree is complete before the old one is moved aside, so an interruption leaves one of
    the two intact; `recover_tree` repairs an interruption between the two renames.

    Raises:
        PrerequisiteError: the place is a link or cannot be written; the old tree is intact.
    """
    if directory.is_symlink():
        raise PrerequisiteError(
            f"is a link to {directory.readlink()}, and would be replaced by a directory",
            where=str(directory),
            hint=f"remove the link: `rm {shlex.quote(str(directory))}`",
        )
    parent, name = directory.parent, directory.name
    fresh: Path | None = None
    old = parent / f".{name}.old"
    try:
        recover_tree(directory)
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.new."))
        for relative, data in sorted(files.items()):
            target = fresh / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, data, mode=mode)
        fresh.chmod(0o755)
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    finally:
        recover_tree(directory)
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def recover_tree(directory: Path) -> None:
    """Finish or undo a replacement that was interrupted between its two renames."""
    old = directory.parent / f".{directory.name}.old"
    if not (old.exists() or old.is_symlink()):
        return
    if old.is_symlink():
        old.unlink()  # of a link that an earlier version moved aside
    elif directory.exists():
        shutil.rmtree(old)
    else:
        old.rename(directory)
