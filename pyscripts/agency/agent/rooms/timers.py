"""Timers: cron gateways of the Gosuto, which wake the agent when they are due.

gateways ─▶ due (pure) ─▶ inbox, on disk with the time of the look ─▶ program ─▶ trust.adminRoom

A due time is taken once, whatever the clock does and however often the process is killed: its name
is the id under which the inbox knows it. Of those that passed while nothing looked the last counts,
if it is no older than a message may be.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agency.agent.rooms.events.reading import Message
from agency.agent.rooms.events.waking import EVENTS_PER_MINUTE, MAX_WAITING
from agency.agent.rooms.inbox import TIMER, Inbox, State
from agency.agent.rooms.listening import Policy
from agency.clock import Clock
from agency.errors import AgencyError
from agency.gosuto import Document
from agency.workspace import due_times, parse_cron

_log = logging.getLogger(__name__)

_LOOKED = "timers"  # the fact of the inbox that holds when each timer was looked at
_MINUTE_S = 60.0
_LONGEST_S = 5.0  # between looks: a timer that a new policy brings is due from then on
_SOONEST_S = 0.05


@dataclass(frozen=True, slots=True)
class Due:
    """Due time of a timer, and the text of its event."""

    timer: str
    moment: datetime
    text: str

    @property
    def root(self) -> str:
        """Name in place of a thread: events of one timer are worked on one after the other."""
        return f"{TIMER}{self.timer}"

    @property
    def event_id(self) -> str:
        """Id under which it is taken once; no event of a room has such a one."""
        return f"{self.root}@{self.moment:%Y-%m-%dT%H:%MZ}"


def due(
    document: Document, looked: Mapping[str, datetime], now: datetime, oldest_s: float
) -> tuple[Due, ...]:
    """Return what is due at `now`, at most one time of each timer; a new timer is due from now on.

    `looked` says when each timer was looked at before.
    """
    oldest = now - timedelta(seconds=oldest_s)
    found = []
    for name, gateway in sorted(document.gateways.items()):
        if gateway.type != "cron" or gateway.schedule is None or gateway.message is None:
            continue
        after = max(looked.get(name, now), oldest)
        moment = next(due_times(parse_cron(gateway.schedule), after, now), None)
        if moment is not None:
            found.append(Due(name, moment, gateway.message))
    return tuple(found)


def until_next_look(wall: float) -> float:
    """Return the seconds until the next look: at the beginning of a minute, or before. Pure."""
    return min(_LONGEST_S, max(_SOONEST_S, _MINUTE_S - wall % _MINUTE_S))


def _same_minute(looked: Iterable[datetime], now: datetime) -> bool:
    """Return whether all looks were in this minute; the clock may have gone back since."""
    return all(abs(now - at) < timedelta(minutes=1) and at.minute == now.minute for at in looked)


@dataclass(slots=True)
class Timers:
    """Look at all timers, at the latest when a minute begins; `wake` is set when one was due."""

    oldest_s: float
    inbox: Inbox
    policy: Policy
    clock: Clock
    wake: asyncio.Event
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            PrerequisiteError: the inbox fails.
        """
        while True:
            self.look()
            await self.sleep(until_next_look(self.clock.wall()))

    def look(self) -> None:
        """Take what is due by the policy of the moment; without one nothing is, and none is lost.

        Raises:
            PrerequisiteError: the inbox fails.
        """
        try:
            document = self.policy.read()
        except AgencyError as error:
            _log.warning("no policy, no timers", extra={"fields": {"why": error.message}})
            return
        now, looked = self.clock.utc(), self._looked()
        names = {name for name, each in document.gateways.items() if each.type == "cron"}
        found = due(document, looked, now, self.oldest_s)
        if not found and names == looked.keys() and _same_minute(looked.values(), now):
            return  # nothing to put down
        with self.inbox.transaction():
            for each in found:
                refusal = self._take(each, document)
                fields = {"timer": each.timer, "due": each.event_id, "why": refusal or "due"}
                level = logging.WARNING if refusal else logging.INFO
                _log.log(level, "timer", extra={"fields": fields})
            marks = {name: now.isoformat() for name in names}
            self.inbox.put_fact(_LOOKED, json.dumps(marks))
        if found:
            self.wake.set()

    def _looked(self) -> dict[str, datetime]:
        marks = json.loads(self.inbox.fact(_LOOKED) or "{}")
        return {name: datetime.fromisoformat(at).astimezone(UTC) for name, at in marks.items()}

    def _take(self, found: Due, document: Document) -> str | None:
        """Put a due time into the inbox; return why it was not."""
        room, now = document.trust.admin_room, self.clock.now_ms()
        if room is None:
            return "the Gosuto has no trust.adminRoom, where what comes of it is said"
        if document.trust.require_encryption:
            return "encryption is required, and this agent says nothing encrypted"
        if any(
            each.root == found.root and each.state is State.WAITING
            for each in self.inbox.open_work()
        ):
            return "its event before this one still waits"
        recent, _ = self.inbox.recent(now)
        if recent >= (document.limits.events_per_minute or EVENTS_PER_MINUTE):
            return "too many events in this minute"
        if self.inbox.waiting() >= MAX_WAITING:
            return "too much waits already"
        event = Message(found.event_id, room, found.root, now, found.text, found.root)
        return None if self.inbox.take(event, found.text, now) else "taken before"
