"""Upkeep of a room while the control plane runs: of the control room, and of those beside it.

    every few minutes, or wake() ──▶ ControlRoom.ensure(known) ──▶ entered() ──▶ moved(room),
                                          │                         if it is another one
                                          └──▶ findings
                                                   └── note, clear ──▶ Conditions

What cannot be made as it should be is a condition, tried again with back-off until it is mended.
All that a room beside the control room lacks is of one kind, and never blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from agency.control.conditions import Code, Conditions
from agency.matrix import Backoff, Lack, MatrixError, RoomLostError, RoomState

_log = logging.getLogger(__name__)

EVERY_S = 300.0
_OBSERVED = frozenset(Code(lack.value) for lack in Lack)


@dataclass(slots=True)
class RoomUpkeep:
    """Keeper of a room; `room_id` is the room that is kept now.

    `moved` is called with the new room when the room was replaced. `beside` is the kind of
    condition of a room beside the control room.
    """

    ensure: Callable[[str | None], Awaitable[RoomState]]
    conditions: Conditions
    moved: Callable[[str], Awaitable[None]]
    room_id: str | None = None
    predecessor: str = ""
    beside: Code | None = None
    is_open: bool = True  # False: the bot cannot speak there now
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=5.0, longest_s=EVERY_S))
    every_s: float = EVERY_S
    spacing_s: float = 1.0  # between two checks, however often it is woken
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Have the room checked soon: an event says that it has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Check the room until cancelled; the first time after a wait, because it was just set up.

        While it lacks something the waits grow from seconds to `every_s`; an event that wakes this
        makes them short again.
        """
        failures = 0 if self._whole() else 1
        while True:
            wait_s = self.backoff.delay_s(failures) if failures else self.every_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
                    failures = 0
            except TimeoutError:
                pass
            failures = 0 if await self.check() else failures + 1
            await asyncio.sleep(self.spacing_s)

    def _whole(self) -> bool:
        codes = {condition.code for condition in self.conditions.present()}
        return not codes & self._own

    @property
    def _own(self) -> frozenset[Code]:
        """Kinds of conditions of this room."""
        return _OBSERVED | {Code.ROOM_LOST} if self.beside is None else frozenset({self.beside})

    async def check(self) -> bool:
        """Set up the room and note what it lacks; returns True if it lacks nothing."""
        self._woken.clear()
        try:
            await self.settle(await self.ensure(self.room_id))
        except RoomLostError as error:
            self.lost(error)
        except MatrixError as error:
            # Readiness says that the homeserver is away; what the room lacks is not known.
            fields = {"where": error.where}
            _log.info("cannot check the room: %s", error.message, extra={"fields": fields})
            if self.beside is not None and not error.temporary:
                self.lost(error)
            return False
        except SQLAlchemyError as error:
            _log.warning("cannot keep the id of a room: %s", type(error).__name__)
            return False
        return self._whole()

    def lost(self, error: MatrixError) -> None:
        """Note that the bot cannot enter the room."""
        self.is_open = False
        code, hint = self.beside or Code.ROOM_LOST, error.hint or ""
        if self.beside is not None and not isinstance(error, RoomLostError):
            hint = "check that the homeserver has loaded the registration that `agency render` made"
        self.conditions.note(code, error.message, hint=hint, blocks=self.beside is None)

    async def settle(self, state: RoomState) -> None:
        """Note what the room lacks, forget what it lacks no more, and follow a room that moved."""
        found = {
            (self.beside or Code(each.lack.value), each.subject): each for each in state.findings
        }
        for (code, subject), each in found.items():
            blocks = each.blocks and self.beside is None
            self.conditions.note(code, each.text, subject=subject, hint=each.hint, blocks=blocks)
        for condition in self.conditions.present():
            key = (condition.code, condition.subject)
            if condition.code in self._own and key not in found:
                self.conditions.clear(*key)
        self.is_open = not any(each.blocks for each in state.findings)
        self.predecessor = state.predecessor
        await self.entered(state.id)

    async def entered(self, room_id: str) -> None:
        """Keep another room from now on, whether or not it can be made as it should be."""
        if room_id != self.room_id:
            await self.moved(room_id)
            self.room_id = room_id
