"""Looks at an agent by ACP: counted, and told to the audit log once an hour.

Health, status and the list of waiting calls are asked for every few seconds and change nothing. A
row for each would bury what the agent did. The hourly row is also how its log shows that it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agency.agent.recording import Recorder
from agency.protocols import ENDPOINTS, HEALTH_PATH, STATUS_PATH

ALIVE = "agent.alive"
ALIVE_S = 3600.0

# A stream of events is no look: who follows one is on record.
LOOKS = frozenset(
    {HEALTH_PATH, STATUS_PATH}
    | {each.path for each in ENDPOINTS if each.request is None and each.answer is not None}
)


class Looks:
    """Number of looks since they were last told, and of those that got no good answer."""

    def __init__(self) -> None:
        self._taken = 0
        self._failed = 0

    def add(self, *, good: bool) -> None:
        """Count one look."""
        self._taken += 1
        self._failed += not good

    def told(self) -> dict[str, Any]:
        """Return the counts as the detail of an event, and count from zero again."""
        counts = {"looks": self._taken, "looks_failed": self._failed}
        self._taken = self._failed = 0
        return counts


@asynccontextmanager
async def telling(
    recorder: Recorder, looks: Looks, period_s: float = ALIVE_S
) -> AsyncIterator[None]:
    """Put on record once a period that the agent lives, and how often it was looked at."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(period_s)
            recorder.put(ALIVE, **looks.told())

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
