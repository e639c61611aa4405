"""Lock that admits one run at a time; the kernel releases it when its holder ends, in any way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.locks import try_lock
from agency.paths import state_dir
from agency.reconcile.engine.contract import ReconcileError

_POLL_S = 0.05
_HINT = "run it as its systemd unit does, or as root"


def lock_dir(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the lock's directory: the unit's runtime directory, also for a run by hand.

    It is no shared directory, because other users must not be able to hold the lock.
    """
    given = environ.get("RUNTIME_DIRECTORY")
    if given:
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/run") / f"agency-reconcile-{name}"
    return state_dir(environ) / "reconcile" / name


@asynccontextmanager
async def held(directory: Path, *, wait_s: float, clock: Clock) -> AsyncIterator[None]:
    """Hold the lock of `directory` (made if missing), waiting at most `wait_s` seconds.

    Raises:
        ReconcileError: another run still holds it.
        PrerequisiteError: the directory cannot be used.
    """
    path = directory / "lock"
    _make(directory)
    descriptor = await _acquire(path, wait_s, clock)
    try:
        yield
    finally:
        os.close(descriptor)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot use the lock: {error.strerror or error}", where=str(directory), hint=_HINT
        ) from error


async def _acquire(path: Path, wait_s: float, clock: Clock) -> int:
    deadline = clock.steady() + wait_s
    while (descriptor := try_lock(path, hint=_HINT)) is None:
        if clock.steady() >= deadline:
            raise ReconcileError(
                f"another run has held the lock for {wait_s:g} s",
                where=str(path),
                hint="wait for it to end, or see what it does: lslocks, systemctl status",
            )
        await asyncio.sleep(_POLL_S)
    return descriptor
