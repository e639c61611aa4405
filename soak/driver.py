"""The operators: they send what the plan says, at its times, and see the answers."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from soak.client import Client
from soak.installation import BOT
from soak.journal import Journal, Said
from soak.plan import Manner, Step
from soak.verdict import REPLY_KEY

_OPEN = 40  # commands without an answer: more would only fill the queues
_LOST_S = 120.0  # a command without an answer for so long does not hold up the others
_THREADS = 4


@dataclass(slots=True)
class Driver:
    """The operators of a run in their control room."""

    operators: list[Client]
    room: str
    journal: Journal
    answered: set[str] = field(default_factory=set)
    _roots: list[str] = field(default_factory=list)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    async def begin(self) -> None:
        """Start the talks in whose threads commands are sent."""
        for number in range(_THREADS):
            self._roots.append(await self._say(number, "let us talk about agents"))

    async def run(self, steps: list[Step]) -> None:
        """Send every command at its time, or as soon as enough others are answered."""
        begun = time.monotonic()
        for step in steps:
            await asyncio.sleep(max(0.0, begun + step.at_s - time.monotonic()))
            while self.open(_LOST_S) + len(self._sending) >= _OPEN:
                await asyncio.sleep(0.05)
            task = asyncio.create_task(self._send(step))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        while self._sending:
            await asyncio.gather(*self._sending)

    def open(self, newer_s: float = float("inf")) -> int:
        """Count the commands without an answer that were sent in the last seconds."""
        since = time.time() - newer_s
        return sum(
            not each.redacted and each.event_id not in self.answered and each.sent > since
            for each in self.journal.said
        )

    async def drain(self, wait_s: float) -> None:
        """Wait until all is answered but what is lost, and a little for what might come twice."""
        deadline = time.monotonic() + wait_s
        while self.open(wait_s) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        await asyncio.sleep(3.0)

    async def follow(self) -> None:
        """Note final answers for ever, as one operator's client sees them."""
        client, since = self.operators[0], ""
        timeline = {"types": ["m.room.message"], "senders": [BOT], "limit": 100}
        wanted = json.dumps({"room": {"rooms": [self.room], "timeline": timeline}})
        while True:
            query = {"timeout": "5000", "filter": wanted} | ({"since": since} if since else {})
            page = await client.call("GET", "/_matrix/client/v3/sync", **query)
            since = str(page["next_batch"])
            for room in page.get("rooms", {}).get("join", {}).values():
                events = room["timeline"]["events"]
                if room["timeline"].get("limited"):
                    events = await self._missed(events)
                self._note(events)

    async def _missed(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Fetch more of the room where the sync left some out."""
        found = list(events)
        async for event in self.operators[0].history(self.room):
            found.append(event)
            if len(found) > 1000:
                break
        return found

    def _note(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            meta = event.get("content", {}).get(REPLY_KEY)
            if isinstance(meta, dict) and meta.get("final"):
                self.answered.add(str(meta.get("command")))

    async def _send(self, step: Step) -> None:
        sent = time.time()
        relation: dict[str, Any] = {}
        root = self._roots[step.number % _THREADS]
        if step.manner in (Manner.THREAD, Manner.THREAD_EDIT):
            relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        who = step.operator
        if step.manner in (Manner.EDIT, Manner.THREAD_EDIT):
            first = await self._say(who, "well", **relation)
            edited = {"rel_type": "m.replace", "event_id": first}
            new = {"msgtype": "m.text", "body": step.text}
            relation = {"m.relates_to": edited, "m.new_content": new}
            event_id = await self._say(who, f"* {step.text}", **relation)
            place = root if step.manner is Manner.THREAD_EDIT else first
        else:
            event_id = await self._say(who, step.text, **relation)
            place = root if step.manner is Manner.THREAD else event_id
        said = Said(step, sent, event_id, place, redacted=step.manner is Manner.REDACTED)
        self.journal.said.append(said)
        self.journal.note("said", text=step.text, event=event_id, manner=step.manner)
        if said.redacted:
            await asyncio.sleep(step.later_s)
            await self.operators[who].redact(self.room, event_id)

    async def _say(self, who: int, text: str, **content: Any) -> str:
        client = self.operators[who % len(self.operators)]
        return await client.send(self.room, {"body": text, **content})
