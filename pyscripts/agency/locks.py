"""File locks that wait without blocking the event loop and without leaving lock files behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError

_POLL_S = 0.1


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_HINT = "make the directory writable, or set XDG_STATE_HOME to one that is"


def try_lock(path: Path, *, shared: bool = False, hint: str = _HINT) -> int | None:
    """Lock a file, created if missing; return None if another process holds the lock.

    The lock lasts until the descriptor is closed. If the file was removed between opening and
    locking, the attempt is repeated.

    Raises:
        PrerequisiteError: the file cannot be opened; `hint` is the remedy.
    """
    while True:
        try:
            descriptor = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot use the lock: {error.strerror or error}", where=str(path), hint=hint
            ) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise no_locks(path, error) from error
        if _still_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def no_locks(path: Path, error: OSError) -> PrerequisiteError:
    """Make the error for a file system that has no locks, such as some network mounts."""
    return PrerequisiteError(
        f"this file system cannot lock files: {error.strerror or error}",
        where=str(path),
        hint="set XDG_STATE_HOME to a directory on a local file system",
    )


def _still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


async def lock(path: Path, *, shared: bool = False) -> int:
    """Wait for a lock and return the descriptor that holds it. Bound it with asyncio.timeout."""
    # flock has no event for its release.
    while (descriptor := try_lock(path, shared=shared)) is None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
    return descriptor


@contextlib.asynccontextmanager
async def locked(path: Path, *, shared: bool = False) -> AsyncIterator[int]:
    """Hold a lock during a block."""
    descriptor = await lock(path, shared=shared)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_one(path: Path, busy: AgencyError, *, hint: str = _HINT) -> Iterator[None]:
    """Hold a lock for the length of a block; raise `busy` at once if another process holds it.

    Raises:
        PrerequisiteError: the file cannot be opened; `hint` says what to do then.
    """
    descriptor = try_lock(path, hint=hint)
    if descriptor is None:
        raise busy
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether another process holds the lock; a missing file is not held.

    It creates nothing, because the owner may be removing the directory.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two callers do not see each other's lock.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise no_locks(path, error) from error
    finally:
        os.close(descriptor)
    return False
