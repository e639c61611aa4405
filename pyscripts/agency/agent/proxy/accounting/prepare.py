"""Making of a new ledger in a process of its own: the migration's library costs 11 MB for life."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from agency.agent.proxy.accounting.ledger import open_ledger
from agency.clock import Clock
from agency.errors import AgencyError

_WITHIN_S = 60.0


async def prepare(path: Path) -> None:
    """Make the ledger if there is none; whoever opens it tells what is wrong with it."""
    if path.exists():  # noqa: ASYNC240 - one look at the start
        return
    argv = (sys.executable, "-I", "-m", "agency.agent.proxy.accounting.prepare", str(path))
    quiet = asyncio.subprocess.DEVNULL
    made = await asyncio.create_subprocess_exec(*argv, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(_WITHIN_S):
            await made.wait()
    except TimeoutError:
        made.kill()
        await made.wait()


async def _make(path: Path) -> None:
    with contextlib.suppress(AgencyError):
        async with open_ledger(path, Clock()):
            pass


if __name__ == "__main__":
    asyncio.run(_make(Path(sys.argv[1])))
