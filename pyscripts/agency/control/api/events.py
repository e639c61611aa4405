"""Server-sent events of one operation: what is on record, then what comes, then the end.

    store ── reports, state, answer ──▶ Follower ──▶ Broadcast ──▶ send_events ──▶ client
      ▲ woken by Operations.following, and every second        Last-Event-ID ──▶ where to go on

All of it is read from the store, so a client that lost its connection, or its control plane, asks
again with the last id it saw and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.control.api import models
from agency.web import Broadcast, Event

_EVERY_S = 1.0  # for what wakes nobody: another's approval, a state in between
_ID = re.compile(r"([0-9]{1,6})\.([a-z]{0,16})\Z")


@dataclass(frozen=True, slots=True)
class Seen:
    """Position of a client: the number of the newest report that it has seen, and the state."""

    report: int = 0
    state: str = ""

    @classmethod
    def of(cls, last_event_id: str) -> Seen:
        """Read the id that a client came back with; of another form, it has seen nothing."""
        found = _ID.match(last_event_id)
        return cls() if found is None else cls(int(found[1]), found[2])

    def __str__(self) -> str:
        """Write the id of an event after which a client has seen this."""
        return f"{self.report}.{self.state}"


def news(seen: Seen, now: models.Operation) -> tuple[Seen, list[Event]]:
    """Return the events that a client misses, and what it has seen after them. Pure.

    The end comes last, also to a client that has seen it: it asks because it is not sure.
    """
    events: list[Event] = []
    for report in now.reports:
        if report.number > seen.report:
            seen = Seen(report.number, seen.state)
            events.append(Event(_data(report), "report", str(seen)))
    if now.final:
        seen = Seen(seen.report, now.state)
        events.append(Event(_data(now), "end", str(seen)))
    elif now.state != seen.state:
        seen = Seen(seen.report, now.state)
        events.append(Event(_data(now), "state", str(seen)))
    return seen, events


def _data(model: models.Model) -> str:
    # In ASCII: clients break lines at more characters than the specification does.
    return json.dumps(model.model_dump(mode="json"))


async def follow(
    look: Callable[[], Awaitable[models.Operation]],
    woken: asyncio.Event,
    seen: Seen,
    broadcast: Broadcast,
) -> None:
    """Publish the events of an operation until its end; then the stream ends."""
    try:
        while True:
            woken.clear()
            now = await look()
            seen, events = news(seen, now)
            for event in events:
                broadcast.publish(event)
            if now.final:
                return
            try:
                async with asyncio.timeout(_EVERY_S):
                    await woken.wait()
            except TimeoutError:
                pass
    finally:
        broadcast.close()
