"""Directory of one run, held by a lock for as long as the run lives.

A run whose lock is free is dead, however it died: `reap` ends its processes by their marker and
removes its directory. Age never decides.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agency import locks
from agency.errors import AgencyError, PrerequisiteError

_LOCK = "lock"


@dataclass(slots=True)
class RunDirectory:
    """Private directory (0700) of a run, with the lock that shows that the run is alive."""

    path: Path
    run: str
    _lock: int | None

    @property
    def logs(self) -> Path:
        """Directory of the logs, one file a process."""
        return self.path / "logs"

    @property
    def credentials(self) -> Path:
        """Directory of the secrets that programs can only read from files."""
        return self.path / "credentials"

    def release(self) -> None:
        """Release the lock; the directory stays."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def hand_over(self) -> int:
        """Return the lock's descriptor; the program that this becomes by exec holds it on."""
        assert self._lock is not None
        os.set_inheritable(self._lock, True)
        return self._lock

    def remove(self) -> None:
        """Remove the directory and everything in it, then release the lock; safe to repeat."""
        if self.path.exists():
            with _registry(self.path.parent):
                shutil.rmtree(self.path)
        self.release()


@contextmanager
def _registry(base: Path) -> Iterator[None]:
    """Serialise creating, removing and reaping: no directory is seen half-made or half-removed."""
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(base / ".registry", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot keep runs here: {error.strerror}",
            where=str(base),
            hint="make the directory writable, or set XDG_STATE_HOME to one that is",
        ) from error
    try:
        locks.take(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _is_dead(directory: Path) -> bool:
    """Return whether no process holds a run's directory. Call this under the registry.

    Creators hold the registry too, so a dead run stays dead for as long as the caller holds it.
    """
    return not locks.is_held(directory / _LOCK)


def _lock(directory: Path) -> int:
    """Lock the directory of a dead run, and return the descriptor that holds the lock.

    The file gets its name once it is locked. So a process that asks without the registry never
    finds it free, nor holds it at the moment of locking.
    """
    unnamed = directory / f".{_LOCK}"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not locks.take(descriptor):
            raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock")
        unnamed.rename(directory / _LOCK)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class RunBusyError(AgencyError):
    """A run that another process holds."""


def create(base: Path, run: str) -> RunDirectory:
    """Make and lock `base/run`.

    Raises:
        RunBusyError: a running process holds a run of that name.
        PrerequisiteError: the place cannot be written.
    """
    path = base / run
    with _registry(base):
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if not _is_dead(path):
                raise RunBusyError("another process runs this", where=str(path))
            lock = _lock(path)
            for name in ("logs", "credentials"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot make the run's directory: {error.strerror}", where=str(path)
            ) from error
    return RunDirectory(path, run, lock)


def reap(base: Path, timeout_s: float = 5.0) -> tuple[str, ...]:
    """End and remove what dead runs under `base` left behind; return their names."""
    reaped = []
    with _registry(base):
        for path in sorted(p for p in base.iterdir() if p.is_dir()):
            if _is_dead(path):
                from agency.children import kill_marked  # slow to import, seldom needed

                kill_marked(path.name, timeout=timeout_s)
                shutil.rmtree(path)
                reaped.append(path.name)
    return tuple(reaped)
