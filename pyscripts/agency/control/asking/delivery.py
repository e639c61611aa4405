"""Delivery of decisions: each on record is sent until the agent answers, or its time is over.

decided ─▶ may they still? ─▶ sent, with its key ─▶ 200: approved, denied
              └─ no: waiting    ├─ no answer, 5xx: decided still, sent again later
                                ├─ 403: waiting    (its Gosuto names others)
                                └─ 404, 409: gone  (it asks no more, or was decided otherwise)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.engine import Connection

from agency.control.acp_client import AcpRefusedError
from agency.control.ask import Ask, State
from agency.control.asking.judging import Refusal, judge
from agency.control.asking.recording import Recorder, guide_of
from agency.control.store import asks
from agency.control.store.outbox import StoredMessage
from agency.errors import AgencyError
from agency.protocols import ApprovalDecision, PendingApproval
from agency.store import Database

_log = logging.getLogger(__name__)

_MOST_LINE = 200  # characters of a reason, as ACP has it
_BEFORE = "The decision was sent before, without an answer: it may have been taken."


class Agents(Protocol):
    """The running agents, as approvals use them."""

    def names(self) -> Sequence[str]:
        """Return the names of the agents that there are."""

    async def pending(self, agent: str, trace: str) -> tuple[PendingApproval, ...] | None:
        """List what an agent asks, without secrets; None if it does not run, or has no gateway.

        Raises:
            AgencyError: it does not say.
        """

    async def decide(
        self, agent: str, trace: str, number: str, decision: ApprovalDecision, key: str
    ) -> None:
        """Tell an agent a decision.

        Raises:
            AcpRefusedError: it does not take it.
            AgencyError: it does not answer, or does not run.
        """


@dataclass(slots=True)
class Delivery:
    """Deliverer of decisions, one at a time for each agent."""

    agents: Agents
    recorder: Recorder
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def database(self) -> Database:
        """The store."""
        return self.recorder.speaker.database

    async def deliver(self, ask_id: str) -> tuple[Ask | None, str]:
        """Send the decision on an ask, if one is on record; return the ask then, and why it is so.

        Raises:
            SQLAlchemyError: the store cannot be used.
        """
        found = await self.database.read(lambda c: asks.find(c, ask_id))
        if found is None:
            return None, ""
        async with self._locks.setdefault(found.agent, asyncio.Lock()):
            state, why = await self._step(ask_id)
            if state is not None:
                await self.end(ask_id, state, why)
        return await self.database.read(lambda c: asks.find(c, ask_id)), why

    async def end(self, ask_id: str, state: State, why: str = "") -> None:
        """Put the end of an ask on record, if it has not ended."""

        def change(connection: Connection) -> list[StoredMessage]:
            ask = asks.find(connection, ask_id)
            if ask is None or not ask.is_open or ask.state is state:
                return []
            return self.recorder.end(connection, ask, state, why)

        for message in await self.database.write(change):
            self.recorder.speaker.say(message)

    async def _step(self, ask_id: str) -> tuple[State | None, str]:
        """Send once; return the state that follows, None if the decision stays on record."""
        now = self.recorder.speaker.clock.now_ms()

        def begin(connection: Connection) -> tuple[Ask | None, Refusal | None]:
            ask = asks.find(connection, ask_id)
            if (
                ask is None
                or ask.state is not State.DECIDED
                or (ask.is_late(now) and not ask.tries)
            ):
                return ask, None
            refusal = judge(
                self.recorder.policy(),
                guide_of(connection, ask.agent),
                ask.agent,
                ask.decided_by,
                ask.verdict,
                self.recorder.is_own,
            )
            return (ask, refusal) if refusal else (asks.tried(connection, ask), None)

        ask, refusal = await self.database.write(begin)
        if ask is None or ask.state is not State.DECIDED:
            return None, ""
        if refusal is not None:
            return State.WAITING, refusal.text
        if not ask.tries:
            return State.EXPIRED, ""
        state, why = await self._send(ask)
        if state is None and ask.is_late(now):
            return State.EXPIRED, _BEFORE
        return state, why

    async def _send(self, ask: Ask) -> tuple[State | None, str]:
        decision = ApprovalDecision(
            decision="approve" if ask.verdict.ends is State.APPROVED else "deny",
            digest=ask.digest,
            decided_by=ask.decided_by,
            reason=ask.reason[:_MOST_LINE],
        )
        try:
            await self.agents.decide(ask.agent, ask.trace, ask.number, decision, ask.key)
        except AcpRefusedError as error:
            return _refused(ask, error)
        except AgencyError as error:
            _log.info("%s was not told a decision: %s", ask.agent, error.message)
            return None, error.message
        return ask.verdict.ends, ""


def _refused(ask: Ask, error: AcpRefusedError) -> tuple[State | None, str]:
    """Return what follows from the answer of an agent that does not take a decision."""
    before = f" {_BEFORE}" if ask.tries > 1 else ""
    match error.status, error.code:
        case 403, _:
            return State.WAITING, f"{ask.agent} did not take the decision: {error.message}"
        case 409, "hash-differs":
            return State.GONE, f"{ask.agent} asks something else by now."
        case 409, _:
            return State.GONE, f"It was decided already.{before}"
        case 404, _:
            return State.GONE, f"{ask.agent} does not ask it any more.{before}"
    return None, error.message
