"""One run at a time: a lock that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.paths import state_dir
from agency.reconcile.engine.contract import ReconcileError

_POLL_S = 0.05


def lock_dir(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the lock of a reconciler is: its unit's runtime directory, also for a run by hand.

    Other users must not be able to hold the lock, so it is in no shared directory.
    """
    given = environ.get("RUNTIME_DIRECTORY")
    if given:
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/run") / f"agency-reconcile-{name}"
    return state_dir(environ) / "reconcile" / name


@asynccontextmanager
async def held(directory: Path, *, wait_s: float, clock: Clock) -> AsyncIterator[None]:
    """Hold the lock of `directory` (made when missing), waiting at most `wait_s` seconds.

    Raises:
        ReconcileError: another run still holds it.
        PrerequisiteError: the directory cannot be used.
    """
    path = directory / "lock"
    descriptor = _opened(path)
    try:
        await _acquire(descriptor, path, wait_s, clock)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot use the lock: {error.strerror or error}",
            where=str(path),
            hint="run it as its systemd unit does, or as root",
        ) from error


async def _acquire(descriptor: int, path: Path, wait_s: float, clock: Clock) -> None:
    deadline = clock.steady() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.steady() >= deadline:
                raise ReconcileError(
                    f"another run has held the lock for {wait_s:g} s",
                    where=str(path),
                    hint="wait for it to end, or see what it does: lslocks, systemctl status",
                ) from None
            await asyncio.sleep(_POLL_S)
        else:
            return
