"""Rooms that cannot be joined or read now: each is tried again by itself, and holds up no other.

sync ─ invitation, gap ─▶ on disk, with the token ─▶ join, read ─▶ gone
                               ▲                        │ not now: its own back-off
                               └────────────────────────┘ so often: given up, with a warning
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from agency.agent.rooms.events.batches import RoomEvents
from agency.agent.rooms.listening import Later, Listener, PolicyError
from agency.matrix import Backoff, MatrixError

_log = logging.getLogger(__name__)

_LONGEST_S = 3600.0
MOST_JOINS = 100  # some days, with that back-off
MOST_READS = 10  # a quarter of an hour: what is older is not answered
_SOONEST_S, _LOOK_S = 0.05, 60.0


@dataclass(slots=True)
class Retrying:
    """Joining and reading, one room after the other, beside the listener that puts them down."""

    listener: Listener
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, longest_s=_LONGEST_S))

    async def run(self) -> None:
        """Try until cancelled.

        Raises:
            PrerequisiteError: the inbox fails.
        """
        retry = self.listener.retry
        self.listener.tried = tried = asyncio.Event()
        while True:
            retry.clear()
            await self.look()
            if not retry.is_set():
                tried.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await retry.wait()

    async def look(self) -> None:
        """Try what is due; without a policy nothing is, and none is lost."""
        with suppress(PolicyError):
            for each in self.listener.later():
                if each.room not in self.listener.trusted(self.listener.policy.read()):
                    self._replace(each, None)
                elif self._left_ms(each) <= 0:
                    await (self._join(each) if each.before is None else self._read(each))

    async def _join(self, each: Later) -> None:
        try:
            await self.listener.homeserver.join(each.room)
        except MatrixError as error:
            fields = {"room": each.room, "why": error.message, "attempt": each.tries + 1}
            again = self._again(each, MOST_JOINS, error.retry_after_s) if error.may_pass else None
            told = "cannot join a room" if again is None else "cannot join a room now"
            _log.warning(told, extra={"fields": fields})
            self._replace(each, again)
        else:
            self._replace(each, None)

    async def _read(self, each: Later) -> None:
        """Read a gap; its events are judged by the policy of the moment.

        Raises:
            PolicyError: there is none.
        """
        listener = self.listener
        gap = RoomEvents(each.room, (), each.before)
        found = await listener.homeserver.filled(gap, each.to)
        document, again = listener.policy.read(), None
        if found.gap is not None:
            again = self._again(each.model_copy(update={"before": found.gap}), MOST_READS)
            if again is None:
                fields = {"room": each.room, "attempt": each.tries + 1}
                _log.warning("older messages of a room were not read", extra={"fields": fields})
        with listener.inbox.transaction():
            deleted = listener.put([found], document)
            self._replace(each, again)
        listener.tell(deleted)

    def _again(self, each: Later, most: int, asked_s: float | None = None) -> Later | None:
        """Return when it is tried again; None after as many tries."""
        tries = each.tries + 1
        if tries >= most:
            return None
        next_ms = self.listener.clock.now_ms() + int(1000 * self.backoff.delay_s(tries, asked_s))
        return each.model_copy(update={"tries": tries, "next_ms": next_ms})

    def _replace(self, each: Later, new: Later | None) -> None:
        """Put down what comes next; an invitation that came again meanwhile stays."""
        kept = self.listener.later()
        if each in kept:
            kept.remove(each)
            self.listener.keep_later(kept if new is None else [*kept, new])

    def _left_ms(self, each: Later) -> int:
        left = each.next_ms - self.listener.clock.now_ms()
        return 0 if left > 1000 * _LONGEST_S else left  # the clock went back

    def _wait_s(self) -> float:
        waits = [self._left_ms(each) / 1000 for each in self.listener.later()]
        return max(_SOONEST_S, min([*waits, _LOOK_S]))
