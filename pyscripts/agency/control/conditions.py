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

MAX_EACH = 64  # of one kind, so none keeps out another; what comes above is counted, not kept
MAX_TEXT = 1000  # characters


class Code(StrEnum):
    """Kinds of conditions; the labels of metrics, so their number is bounded."""

    TRANSACTION_REFUSED = "transaction-refused"
    EVENTS_DROPPED = "events-dropped"
    AGENT_ABSENT = "agent-absent"
    AGENT_FAILED = "agent-failed"
    OPERATOR_ABSENT = "operator-absent"
    POWER_LACKING = "power-lacking"
    ALIAS_LOST = "alias-lost"
    BOT_SILENCED = "bot-silenced"
    ROOM_LOST = "room-lost"
    ROOM_ENCRYPTED = "room-encrypted"
    ROOM_REPLACED = "room-replaced"
    APPROVALS_ROOM = "approvals-room"  # it lacks whatever it is: it is beside the control room
    AUDIT_ROOM = "audit-room"  # likewise
    VAULT_UNUSABLE = "vault-unusable"
    SECRETS_UNDELIVERED = "secrets-undelivered"
    GOSUTO_UNDELIVERED = "gosuto-undelivered"
    AGENT_LIES = "agent-lies"


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
        key, text, hint = (code, subject), text[:MAX_TEXT], hint[:MAX_TEXT]
        before = self._present.get(key)
        if before is None and self._is_full(code):
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
        """Take up the warnings of the run before, until they are found to be over.

        One that was noted again meanwhile is as old, and as acknowledged, as it was before.
        """
        for each in conditions:
            key = (each.code, each.subject)
            now = self._present.get(key)
            if now is None and not self._is_full(each.code):
                self._present[key] = each
            elif now is not None and not now.blocks:
                self._present[key] = replace(
                    now, since_ms=each.since_ms, acknowledged=each.acknowledged
                )

    def _is_full(self, code: Code) -> bool:
        return sum(kind is code for kind, _ in self._present) >= MAX_EACH

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
