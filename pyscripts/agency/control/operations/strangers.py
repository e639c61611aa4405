"""The lane of people who may not command: behind everybody else's, refused in bulk, thinned out.

    inbox ──▶ first refusal of a sender in a minute ──▶ audit row and reply, in the last lane
          ──▶ the next few                          ──▶ audit row
          ──▶ all above that                        ──▶ counted; once a minute one row says how many

A message that was counted stays in the inbox until the row with its count is committed: a crash
loses none. So a flood costs operators no time, and the audit log stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from agency.clock import Clock
from agency.control.execution.classify import LEAK
from agency.control.operation import Origin
from agency.control.operations.admitting.admission import Admitted, Settled
from agency.control.operations.admitting.entries import message_entry
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.settlement import Settlement
from agency.control.store import inbox
from agency.control.store.audit import Outcome
from agency.control.store.inbox import StoredEvent
from agency.control.store.outbox import Lane

MINUTE_MS = 60_000
ROWS_EACH = 10  # audit rows in a minute about one sender
ROWS_ALL = 120  # audit rows in a minute about all of them together
MAX_HELD = 500  # messages that are counted before a row says so
_MAX_SENDERS = 1000  # whose last answer is remembered
_MAX_GROUPS = 50  # rows that say how many, at a time; the rest share one
_BATCH = 100


class Treatment(StrEnum):
    """Treatment of one refused message."""

    ANSWER = "answer"  # an audit row and a reply
    RECORD = "record"  # an audit row
    COUNT = "count"  # counted in an audit row with others


@dataclass(slots=True)
class Thinning:
    """Limits on the rows and replies about people who may not command."""

    _since: int = 0
    _rows: Counter[str] = field(default_factory=Counter)
    _answered: dict[str, int] = field(default_factory=dict)

    def treat(self, sender: str, now_ms: int, *, answerable: bool) -> Treatment:
        """Decide on the next message of a sender."""
        if not 0 <= now_ms - self._since < MINUTE_MS:
            self._since = now_ms
            self._rows.clear()
            old = [s for s, at in self._answered.items() if not 0 <= now_ms - at < MINUTE_MS]
            for each in old:
                del self._answered[each]
        if self._rows[sender] >= ROWS_EACH or self._rows.total() >= ROWS_ALL:
            return Treatment.COUNT
        self._rows[sender] += 1
        last = self._answered.get(sender)
        recent = last is not None and 0 <= now_ms - last < MINUTE_MS
        if not answerable or recent or len(self._answered) >= _MAX_SENDERS:
            return Treatment.RECORD
        self._answered[sender] = now_ms
        return Treatment.ANSWER


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is counted, and not on record yet."""

    sequence: int
    trace: str
    sender: str
    origin: Origin
    outcome: Outcome
    code: str


@dataclass(slots=True)
class Strangers:
    """Refuser of the messages of people who may not command.

    `judge` settles a message without running it; `admit` takes one that may run after all, or that
    is to be deleted.
    """

    recorder: Recorder
    clock: Clock
    operators: Callable[[], frozenset[str]]
    judge: Callable[[StoredEvent], Settled | Admitted]
    admit: Callable[[StoredEvent], Awaitable[None]]
    after: int = 0  # inbox sequence of the newest message that was read
    _thinning: Thinning = field(default_factory=Thinning)
    _held: list[Held] = field(default_factory=list)
    _held_since: int = 0

    async def step(self) -> bool:
        """Refuse a batch of messages; return whether there may be more at once."""
        senders = sorted(self.operators())
        events = await self.recorder.database.read(
            lambda c: inbox.pending_of(c, senders, theirs=False, after=self.after, most=_BATCH)
        )
        settlements: list[Settlement] = []
        for stored in events:
            settled = self.judge(stored)
            if isinstance(settled, Admitted) or settled.code == LEAK:
                await self.admit(stored)
            elif (made := self._settlement(stored, settled)) is not None:
                settlements.append(made)
        if settlements:
            await self.recorder.settle_all(settlements)
        if events:
            self.after = events[-1].sequence
        if self._held and self.next_s() == 0:
            await self.flush()
        return len(events) == _BATCH

    def next_s(self) -> float | None:
        """Return the seconds until what is counted goes on record; None if nothing is."""
        if not self._held:
            return None
        passed = self.clock.now_ms() - self._held_since
        if len(self._held) >= MAX_HELD or not 0 <= passed < MINUTE_MS:
            return 0
        return (MINUTE_MS - passed) / 1000

    async def flush(self) -> None:
        """Put what is counted on record."""
        held = self._held
        if held:
            await self.recorder.settle_all(counted(held))
            self._held = []

    def _settlement(self, stored: StoredEvent, settled: Settled) -> Settlement | None:
        """Make the settlement of a message; None if it is counted."""
        event, now = stored.event, self.clock.now_ms()
        origin = Origin.of_event(event)
        entry, reply = settled.entry, settled.reply
        if entry is not None:
            how = self._thinning.treat(event.sender, now, answerable=reply is not None)
            if how is Treatment.COUNT:
                self._held_since = self._held_since if self._held else now
                outcome, code = entry.outcome, settled.code
                self._held.append(
                    Held(stored.sequence, stored.trace, event.sender, origin, outcome, code)
                )
                return None
            reply = reply if how is Treatment.ANSWER else None
        return Settlement(origin, stored.trace, entry, reply, event=stored.sequence, lane=Lane.LAST)


def counted(held: Sequence[Held]) -> list[Settlement]:
    """Make the settlements of counted messages: one row for each sender and reason."""
    groups: dict[tuple[str, Outcome, str], list[Held]] = {}
    for each in held:
        groups.setdefault((each.sender, each.outcome, each.code), []).append(each)
    ordered = sorted(groups.values(), key=len, reverse=True)
    rest = [each for group in ordered[_MAX_GROUPS:] for each in group]
    return [_counted(group) for group in ordered[:_MAX_GROUPS]] + ([_counted(rest)] if rest else [])


def _counted(group: Sequence[Held]) -> Settlement:
    first, last = group[0], group[-1]
    senders = {each.sender for each in group}
    alone = len(senders) == 1
    facts = {
        "code": first.code if alone else "several",
        "count": len(group),
        "last": last.origin.id,
        "senders": None if alone else len(senders),
    }
    actor = first.sender if alone else "*"
    outcome = first.outcome if alone else Outcome.REFUSED
    return Settlement(
        first.origin,
        first.trace,
        message_entry(first.trace, actor, first.origin, outcome, facts),
        event=first.sequence,
        also=tuple(each.sequence for each in group[1:]),
    )
