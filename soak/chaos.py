"""Disruptions of the parts, one at a time, as the plan says."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from soak.installation import AGENTS, Installation
from soak.journal import Journal
from soak.parts import Part, pids_of
from soak.plan import Act, Blow

_SIGNALS = {Act.KILL: signal.SIGKILL, Act.TERM: signal.SIGTERM}


@dataclass(slots=True)
class Chaos:
    """Disruptor of the parts of one installation: it ends and pauses them."""

    installation: Installation
    journal: Journal
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, blows: Iterable[Blow], until: float) -> None:
        """Deal one blow after the other, each when all parts are well, until a monotonic time."""
        for blow in blows:
            await asyncio.sleep(min(blow.gap_s, max(0.0, until - time.monotonic())))
            if time.monotonic() >= until:
                return
            begun = time.time()
            self.journal.note("blow", part=blow.part, act=blow.act, for_s=round(blow.for_s, 2))
            if blow.part == "agent":
                await self._agents(blow)
            else:
                await self._part(self.installation.parts[blow.part], blow)
            await self.all_well()
            self.counts[f"{blow.part} {blow.act}"] += 1
            self.journal.trouble(blow.part, blow.act, begun)

    async def all_well(self) -> None:
        """Wait until each part is well; one that depends on another may have ended with it."""
        for part in self.installation.parts.values():
            await part.well()

    async def watch(self) -> None:
        """Start what ended by itself again, for ever; its absence is a trouble of its own."""
        while True:
            for part in self.installation.parts.values():
                before = len(part.ended_itself)
                part.restart_if_ended()
                if len(part.ended_itself) > before:
                    begun = time.time()
                    await part.well()
                    self.journal.trouble(part.name, "ended by itself", begun)
            await asyncio.sleep(0.5)

    async def _part(self, part: Part, blow: Blow) -> None:
        if blow.act is Act.PAUSE:
            await part.pause(blow.for_s)
            return
        await part.end(signal.SIGKILL if blow.act is Act.KILL else part.term)
        await asyncio.sleep(blow.for_s)
        part.launch()

    async def _agents(self, blow: Blow) -> None:
        """End or pause one agent, or all that run."""
        place = self.installation.place
        # The hundredth of a second that the plan drew chooses, so that the seed does.
        chosen = AGENTS[int(blow.for_s * 100) % len(AGENTS)]
        words = (chosen,) if blow.gap_s < 10 else AGENTS
        pids = [pid for word in words for pid in pids_of(place, f"/{word}/")]
        if blow.act is Act.PAUSE:
            await _pause(pids, blow.for_s)
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, _SIGNALS[blow.act])


async def _pause(pids: list[int], seconds: float) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
