"""Voice of the bot: whether it can answer in a room, asked before a change begins there.

state event ──▶ changed() ──▶ what was known is forgotten
a change's turn ──▶ obstacle(room) ──▶ known, or asked of the homeserver
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.clock import Clock
from agency.matrix import Backoff, MatrixError, Silence

_log = logging.getLogger(__name__)

_FRESH_S = 60.0


@dataclass(slots=True)
class Voice:
    """Knowledge of whether the bot can answer; `look` asks the homeserver about a room."""

    look: Callable[[str], Awaitable[Silence | None]]
    clock: Clock
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.25, longest_s=4.0))
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _known: dict[str, tuple[float, str | None]] = field(default_factory=dict)
    _changes: int = 0

    def changed(self) -> None:
        """Forget what is known: a room's state has changed, or a reply was refused."""
        self._known.clear()
        self._changes += 1

    async def obstacle(self, room_id: str) -> str | None:
        """Return what keeps the bot from answering in a room, for people; None if nothing does.

        A homeserver that is away is asked until it answers: the caller limits the time. One that
        refuses to say so is an obstacle.
        """
        known = self._known.get(room_id)
        if known is not None and self.clock.steady() - known[0] < _FRESH_S:
            return known[1]
        attempt = 0
        while True:
            changes = self._changes
            try:
                found = await self.look(room_id)
            except MatrixError as error:
                attempt += 1
                if not error.may_pass:
                    return f"the homeserver does not say whether I can answer: {error.message}"
                if attempt == 1:
                    _log.info("a change waits for the homeserver: %s", error.message)
                await self.sleep(self.backoff.delay_s(attempt, error.retry_after_s))
                continue
            text = None if found is None else f"{found.text}; {found.hint}"
            if changes == self._changes:
                self._known = {room_id: (self.clock.steady(), text)}
            return text
