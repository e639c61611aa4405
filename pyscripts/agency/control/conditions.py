"""Conditions of a running control plane: what is wrong now, said by `/ready`, metrics and status.

    whoever notices ──note()/clear()──▶ Conditions ──▶ /ready: `reasons`, `warnings`
                                                  └──▶ metrics, `agency status`, the room

A condition that blocks makes the control plane not ready: commands do not get through. Every other
one is a warning, which never does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from agency.clock import Clock

_log = logging.getLogger(__name__)

MAX_CONDITIONS = 64  # in all; what comes above is counted, not kept


class Code(StrEnum):
    """Kinds of conditions; the labels of metrics, so their number is bounded."""

    TRANSACTION_REFUSED = "transaction-refused"
    EVENTS_DROPPED = "events-dropped"
    AGENT_ABSENT = "agent-absent"
    OPERATOR_ABSENT = "operator-absent"
    POWER_LACKING = "power-lacking"
    ALIAS_LOST = "alias-lost"
    BOT_SILENCED = "bot-silenced"
    ROOM_LOST = "room-lost"
    ROOM_ENCRYPTED = "room-encrypted"
    ROOM_REPLACED = "room-replaced"


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is wrong.

    Attributes:
        subject: The user, room or agent that it is about; empty for the control plane as a whole.
        text: What is wrong, for people.
        hint: What mends it, with the command; empty if it heals by itself.
        since_ms: Wall clock when it was first noted.
        blocks: True if commands do not get through.
        acknowledged: True for a warning that a person has seen, and wants to see no more.
    """

    code: Code
    subject: str
    text: str
    hint: str
    since_ms: int
    blocks: bool
    acknowledged: bool = False


@dataclass(slots=True)
class Conditions:
    """The present conditions, by kind and subject; `changed` is set whenever they change."""

    clock: Clock
    overflow: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _present: dict[tuple[Code, str], Condition] = field(default_factory=dict)

    def note(
        self, code: Code, text: str, *, subject: str = "", hint: str = "", blocks: bool = False
    ) -> bool:
        """Note a condition, and log it when it is new. Returns True if it is new."""
        key = (code, subject)
        before = self._present.get(key)
        if before is None and len(self._present) >= MAX_CONDITIONS:
            self.overflow += 1
            return False
        since_ms = self.clock.now_ms() if before is None else before.since_ms
        seen = before is not None and before.acknowledged and not blocks
        after = Condition(code, subject, text, hint, since_ms, blocks, seen)
        if after != before:
            self._present[key] = after
            self.changed.set()
        if before is None:
            _log.warning(text, extra={"fields": {"condition": code.value, "subject": subject}})
        return before is None

    def clear(self, code: Code, subject: str = "") -> bool:
        """Forget a condition that is over, and log that. Returns True if there was one."""
        gone = self._present.pop((code, subject), None)
        if gone is not None:
            self.changed.set()
            fields = {"condition": code.value, "subject": subject}
            _log.info("over: %s", gone.text, extra={"fields": fields})
        return gone is not None

    def restore(self, conditions: Iterable[Condition]) -> None:
        """Take up the conditions of the run before, until they are found to be over."""
        for each in conditions:
            if len(self._present) < MAX_CONDITIONS:
                self._present.setdefault((each.code, each.subject), each)

    def acknowledge(self, code: Code) -> int:
        """Mark the warnings of a kind as seen; returns their number.

        One that goes away and comes back is shown again.
        """
        found = [
            (key, each)
            for key, each in self._present.items()
            if each.code is code and not each.blocks and not each.acknowledged
        ]
        for key, each in found:
            self._present[key] = replace(each, acknowledged=True)
        if found:
            self.changed.set()
        return len(found)

    def present(self) -> tuple[Condition, ...]:
        """Return the conditions, the blocking ones first, then the oldest first."""
        return tuple(
            sorted(self._present.values(), key=lambda each: (not each.blocks, each.since_ms))
        )
