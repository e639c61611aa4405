"""Voice of the agent: within the limit of its Gosuto, each message counted before it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.rooms.events.pacing import may_tell, wait_ms
from agency.agent.rooms.homeserver import Homeserver
from agency.agent.rooms.inbox import Inbox
from agency.clock import Clock
from agency.gosuto import Document


@dataclass(frozen=True, slots=True)
class Voice:
    """Sender of all messages; `document` returns the policy of the moment."""

    homeserver: Homeserver
    inbox: Inbox
    document: Callable[[], Document]
    clock: Clock
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def say(self, room: str, content: Mapping[str, Any], txn: str) -> str:
        """Send a message as soon as the limit allows it; return its event id.

        Raises:
            MatrixError: the homeserver refuses it.
        """
        async with self._turn:
            while (wait := wait_ms(self._said(), self._limit(), self.clock.now_ms())) > 0:
                await self.sleep(wait / 1000)
            self.inbox.say(self.clock.now_ms())
        return await self.homeserver.send(room, content, txn)

    async def say_now(self, room: str, content: Mapping[str, Any], txn: str) -> str | None:
        """Send a message if the limit allows it now; return None if it does not.

        Raises:
            MatrixError: the homeserver refuses it.
        """
        if wait_ms(self._said(), self._limit(), self.clock.now_ms()) > 0:
            return None
        self.inbox.say(self.clock.now_ms())
        return await self.homeserver.send(room, content, txn)

    def may_tell(self) -> bool:
        """Return whether progress may be told now."""
        return may_tell(self._said(), self._limit(), self.clock.now_ms())

    def _said(self) -> list[int]:
        return self.inbox.said(self.clock.now_ms())

    def _limit(self) -> int:
        return self.document().messaging.messages_per_minute
