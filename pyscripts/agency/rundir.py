"""Directory of one run, held by a lock for as long as the run lives.

A run whose lock is free is dead, however it died: `reap` ends its processes by their marker and
removes its directory. Age never decides.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agency.children import kill_marked
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
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _looked_at(directory: Path) -> Iterator[bool]:
    """Yield whether a run is dead; it stays dead for the block. Create no file in its directory."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # who makes or removes it was killed, and never holds it again
        yield True
        return
    try:
        yield _locks(descriptor)
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _locks(descriptor):
        os.close(descriptor)
        return None
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
            lock = _try_lock(path / _LOCK)
            if lock is None:
                raise RunBusyError("another process runs this", where=str(path))
            for name in ("logs", "credentials"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot make the run's directory: {error.strerror}", where=str(path)
            ) from error
    return RunDirectory(path, run, lock)


def alive(base: Path) -> Path | None:
    """Return the directory of a run under `base` that a process holds, if there is one."""
    if not base.is_dir():
        return None
    with _registry(base):
        for path in sorted(p for p in base.iterdir() if p.is_dir()):
            with _looked_at(path) as dead:
                if not dead:
                    return path
    return None


def reap(base: Path, timeout_s: float = 5.0) -> tuple[str, ...]:
    """End and remove what dead runs under `base` left behind; return their names."""
    reaped = []
    with _registry(base):
        for path in sorted(p for p in base.iterdir() if p.is_dir()):
            with _looked_at(path) as dead:
                if dead:
                    kill_marked(path.name, timeout=timeout_s)
                    shutil.rmtree(path)
                    reaped.append(path.name)
    return tuple(reaped)
