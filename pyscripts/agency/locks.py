"""File locks (flock(2)): the only place that takes them, and the ways to wait for one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError

_POLL_S = 0.1


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_HINT = "make the directory writable, or set XDG_STATE_HOME to one that is"


def take(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    With `wait`, block until it is free, and return True.

    Raises:
        PrerequisiteError: the file system has no locks, as some network mounts.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PrerequisiteError(
            f"this file system cannot lock files: {error.strerror or error}",
            where=str(Path(f"/proc/self/fd/{descriptor}").readlink()),
            hint="set XDG_STATE_HOME to a directory on a local file system",
        ) from error
    return True


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
            taken = take(descriptor, shared=shared)
        except PrerequisiteError:
            os.close(descriptor)
            raise
        if not taken:
            os.close(descriptor)
            return None
        if _still_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def _still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


async def lock(path: Path, *, shared: bool = False) -> int:
    """Wait for a lock and return the descriptor that holds it. Bound it with asyncio.timeout."""
    import asyncio  # slow to import, and not needed by who does not wait

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
        return not take(descriptor, shared=True)
    finally:
        os.close(descriptor)
