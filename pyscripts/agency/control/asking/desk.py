"""Decisions of people on what agents ask, as commands give them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.control.ask import Ask, State, Verdict
from agency.control.asking.delivery import Delivery
from agency.control.asking.judging import Guide, deciders, judge
from agency.control.asking.recording import guide_of
from agency.control.execution.result import RefusalError
from agency.control.operations.proposals import Calls
from agency.control.store import asks


@dataclass(frozen=True, slots=True)
class Decided:
    """An ask after a decision, and why its agent did not take it, if it did not."""

    ask: Ask
    why: str = ""


@dataclass(frozen=True, slots=True)
class AskDesk:
    """Desk for commands about what agents ask; `calls` finishes what a caller left."""

    delivery: Delivery
    calls: Calls

    async def waiting(self) -> list[Ask]:
        """Return what waits, oldest first."""
        now = self.delivery.recorder.speaker.clock.now_ms()
        found = await self.delivery.database.read(asks.waiting)
        return [each for each in found if not each.is_late(now)]

    async def find(self, beginning: str) -> Ask:
        """Return the ask that waits and whose id begins so.

        Raises:
            RefusalError: none waits, or several begin so.
        """
        found = [each for each in await self.waiting() if each.id.startswith(beginning)]
        if not found:
            raise RefusalError(
                f"no approval {beginning} waits",
                hint="it was decided on already, its time has passed, or its agent asks no more",
            )
        if len(found) > 1:
            raise RefusalError(f"{len(found)} begin with {beginning}", hint="give more of the id")
        return found[0]

    async def deciders(self, ask: Ask) -> tuple[str, ...]:
        """Return who may decide on an ask."""
        guide = await self._guide(ask)
        recorder = self.delivery.recorder
        return deciders(recorder.policy(), guide, recorder.is_own)

    async def decide(self, beginning: str, by: str, verdict: Verdict, reason: str = "") -> Decided:
        """Put a decision on record, and tell the agent.

        One that does not answer is told later; who sees that it was not told is answered so.

        Raises:
            RefusalError: no such ask waits, it is decided, or `by` may not decide.
        """
        ask = await self.find(beginning)
        return await self.calls.whole(self._decide(ask, by, verdict, reason))

    async def _decide(self, ask: Ask, by: str, verdict: Verdict, reason: str) -> Decided:
        recorder = self.delivery.recorder

        def change(connection: Connection) -> None:
            guide = guide_of(connection, ask.agent)
            refusal = judge(recorder.policy(), guide, ask.agent, by, verdict, recorder.is_own)
            if refusal is not None:
                raise RefusalError(refusal.text, where=refusal.code)
            present = asks.find(connection, ask.id)
            if present is not None and _is_same(present, by, verdict):
                return  # as after a crash: the command runs again, and the decision is on record
            if present is None or present.state is not State.WAITING:
                raise RefusalError(_decided(present))
            now = recorder.speaker.clock.now_ms()
            if present.is_late(now):
                raise RefusalError(f"the time of {ask.id} has passed")
            after = replace(
                present,
                state=State.DECIDED,
                decision=verdict.value,
                decided_by=by,
                decided_ts=max(now, present.decided_ts + 1),
                reason=reason,
            )
            if not recorder.decide(connection, present, after):
                raise RefusalError(f"{ask.id} was decided by somebody else")

        await self.delivery.database.write(change)
        after, why = await self.delivery.deliver(ask.id)
        return Decided(after or ask, why)

    async def _guide(self, ask: Ask) -> Guide:
        return await self.delivery.database.read(lambda c: guide_of(c, ask.agent))


def _is_same(ask: Ask, by: str, verdict: Verdict) -> bool:
    return ask.state is State.DECIDED and (ask.decided_by, ask.decision) == (by, verdict)


def _decided(ask: Ask | None) -> str:
    if ask is None or not ask.decided_by:
        return "it waits for nobody any more"
    return f"{ask.decided_by} decided already: {ask.decision}"
