"""Deletion of messages that held a token, by the bot.

Source: Matrix specification 1.11, "Redactions": it takes the room's power level for `redact`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.canonical import sha256_hex
from agency.control.events import IncomingEvent
from agency.matrix import Backoff, MatrixError, MatrixSession, client_path

_TRIES = 5
_AT_ONCE = 4


@dataclass(slots=True)
class Taker:
    """Deleter of messages; it says in a sentence what became of one."""

    api: MatrixSession
    as_user: str
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.25, longest_s=4.0))
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def take_away(self, event: IncomingEvent) -> str:
        """Delete a message; asked again, it stays deleted."""
        async with self._turn:
            for attempt in range(1, _TRIES + 1):
                try:
                    await self._redact(event)
                except MatrixError as error:
                    if error.may_pass and attempt < _TRIES:
                        await self.sleep(self.backoff.delay_s(attempt, error.retry_after_s))
                        continue
                    return f"I could not delete the message ({error.message}): delete it yourself."
                break
        return "I deleted the message; the homeserver may keep its text for some days."

    async def _redact(self, event: IncomingEvent) -> None:
        txn = f"leak-{sha256_hex(event.event_id.encode())[:32]}"
        path = client_path("rooms", event.room_id, "redact", event.event_id, txn)
        reason = {"reason": "it held a token"}
        await self.api.request("PUT", path, reason, as_user=self.as_user)
