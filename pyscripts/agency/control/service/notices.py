"""Notices in the control room when something degrades and when it heals, and what is kept of it.

    Conditions.changed ──▶ keep in the store ──▶ one message of what is new and what is over
                                                 (at most six an hour; a change back cancels out)

Warnings are kept across a restart, with who acknowledged them; what blocks is found anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.control.conditions import Code, Condition, Conditions
from agency.control.execution.replies import printable
from agency.control.rooms.speaking import Speaker
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.control.store.outbox import StoredMessage

_log = logging.getLogger(__name__)

MOST_AN_HOUR = 6
_HOUR_S = 3600.0
_SETTLE_S = 2.0  # a change that is over within this time is not said
_AGAIN_S = 60.0
_MOST_LINES = 10
_LONGEST = 500

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """Warnings, and the texts of the conditions that the room was told of, for the next run."""

    warnings: tuple[Condition, ...] = ()
    told: Mapping[Key, str] = field(default_factory=dict)


def encode(kept: Kept) -> str:
    """Write what is kept as JSON."""
    warnings = [
        [each.code.value, each.subject, each.text, each.hint, each.since_ms, each.acknowledged]
        for each in kept.warnings
    ]
    told = [[code, subject, text] for (code, subject), text in kept.told.items()]
    return json.dumps({"warnings": warnings, "told": told})


def decode(text: str | None) -> Kept:
    """Read what is kept; nothing is kept of what another version wrote in another form."""
    if text is None:
        return Kept()
    try:
        return _decoded(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        _log.warning("cannot read the conditions of the last run: %s", type(error).__name__)
        return Kept()


def _decoded(document: dict[str, Any]) -> Kept:
    """Read a document; kinds of conditions that this version does not know are left out."""
    known = {code.value for code in Code}
    warnings = tuple(
        Condition(Code(code), subject, text, hint, since_ms, blocks=False, acknowledged=seen)
        for code, subject, text, hint, since_ms, seen in document["warnings"]
        if code in known
    )
    return Kept(warnings, {(code, subject): text for code, subject, text in document["told"]})


def difference(told: Mapping[Key, str], present: Iterable[Condition]) -> str:
    """Return the message about what is new and what is over; empty if there is nothing."""
    now = {_key(each): each for each in present}
    new = [f"Degraded: {_line(each)}" for key, each in now.items() if key not in told]
    over = [f"Mended: {text}" for key, text in told.items() if key not in now]
    lines = new + over
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more: see `agency status`"]
    return "\n".join(printable(line)[:_LONGEST] for line in lines)


def _line(condition: Condition) -> str:
    return condition.text + (f". To mend it: {condition.hint}" if condition.hint else "")


def _key(condition: Condition) -> Key:
    return condition.code.value, condition.subject


@dataclass(slots=True)
class Notices:
    """Teller of conditions to the room."""

    speaker: Speaker
    conditions: Conditions
    settle_s: float = _SETTLE_S
    _told: dict[Key, str] = field(default_factory=dict)
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_AN_HOUR))

    async def restore(self) -> None:
        """Take up what the run before kept."""
        kept = decode(await self.speaker.database.read(lambda c: facts.read(c, Fact.CONDITIONS)))
        self.conditions.restore(kept.warnings)
        self._told = dict(kept.told)
        self.conditions.changed.set()

    async def run(self) -> None:
        """Keep and tell changes until cancelled."""
        while True:
            await self.conditions.changed.wait()
            await asyncio.sleep(self.settle_s)
            self.conditions.changed.clear()
            try:
                wait_s = await self.tell()
            except SQLAlchemyError as error:
                _log.warning("cannot keep conditions: %s", type(error).__name__)
                wait_s = _AGAIN_S
            if wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self.conditions.changed.wait()
                except TimeoutError:
                    self.conditions.changed.set()

    async def tell(self) -> float:
        """Keep the conditions, and tell the room what changed.

        Returns the seconds after which to try again; 0 if everything is told.
        """
        present = self.conditions.present()
        text, room_id = difference(self._told, present), self.speaker.room_id()
        now = self.speaker.clock.steady()
        wait_s = 0.0
        if len(self._times) == MOST_AN_HOUR:
            wait_s = max(0.0, self._times[0] + _HOUR_S - now)
        speaks = bool(text) and room_id is not None and wait_s == 0
        after = {_key(each): each.text for each in present}
        warnings = tuple(each for each in present if not each.blocks)

        def keep(connection: Connection) -> StoredMessage | None:
            room_for_it = not self.speaker.is_crowded(connection)
            told = after if speaks and room_for_it else self._told
            facts.keep(connection, Fact.CONDITIONS, encode(Kept(warnings, told)))
            if not speaks or not room_for_it or room_id is None:
                return None
            return self.speaker.queue(connection, text, room_id)

        queued = await self.speaker.database.write(keep)
        if queued is None:
            return max(wait_s, _AGAIN_S) if text else 0.0
        self._told = after
        self._times.append(now)
        self.speaker.say(queued)
        return 0.0
