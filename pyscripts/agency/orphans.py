"""Orphans: processes that outlived who started them, whatever they did to session or environment.

runner ── adopts ──▶ run ── adopts ──▶ what the run started, at any depth

The kernel gives an orphan to its nearest ancestor that adopts (PR_SET_CHILD_SUBREAPER of prctl(2)).
So while a run lives its orphans are its own, and once it is dead they are the runner's children.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Container
from pathlib import Path

from agency.children import ChildError, stat_fields
from agency.errors import PrerequisiteError

_PR_SET_CHILD_SUBREAPER = 36
_WAIT_S = 5.0
_POLL_S = 0.02


def adopt() -> None:
    """Make this process the parent of its descendants' orphans.

    Raises:
        PrerequisiteError: the kernel cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise PrerequisiteError(f"orphans cannot be adopted: {os.strerror(number)}")


async def end_orphans(own: Container[int]) -> int:
    """Kill the children of this process that are not its `own`; return how many there were.

    Call it where no child is being started. A killed orphan's children come here, too.

    Raises:
        ChildError: some do not end.
    """
    loop, seen = asyncio.get_running_loop(), set[int]()
    deadline = loop.time() + _WAIT_S
    while orphans := [pid for pid in children(os.getpid()) if pid not in own]:
        seen.update(orphans)
        for pid in orphans:  # a child that nobody has waited for: its id is surely its own
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        if loop.time() > deadline:
            raise ChildError(
                f"processes of a dead run do not end: {', '.join(map(str, orphans))}",
                hint="they hang inside the kernel; look at /proc/<pid>/stack",
            )
        await asyncio.sleep(_POLL_S)
    return len(seen)


def children(parent: int) -> list[int]:
    """List the children of a process, also those that have ended and were not waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(stat_fields(int(entry.name))[1]) == parent:
                    found.append(int(entry.name))
    return found
