"""Respawn in the conversation: an agent is killed, and the control plane starts it by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.protocols import NOTICE_KEY
from agency.spinup.record import Evidence
from agency.spinup.scenario.conversation import Conversation

RESPAWN = "agents respawn"
_ACTIONS = ("agents watch", RESPAWN)  # what follows on the same trace, such as a push, is beside it
_PATIENCE_S = 90.0  # a host looks after its agents every 30 s, where it sets nothing


@dataclass(slots=True)
class Respawn:
    """Death of one agent's process, and its return."""

    talk: Conversation
    agent: str
    mark: str
    seen: Evidence = field(default_factory=dict)
    _begun: float = 0.0
    _since_ts: int = 0

    async def kill(self) -> None:
        """End the process of the agent by the means of its machine."""
        witness = self.talk.witness
        before, self._since_ts = await self._status(), await self.talk.latest_ts()
        at, begun = witness.clock.now_iso(), witness.clock.steady()
        killed = await witness.kill(self.agent, before["pid"])
        self.seen = {"agent": self.agent, "before": before, "killed": {**killed, "at": at}}
        self._begun = begun

    async def come_back(self) -> None:
        """Wait until the room is told that the agent runs again, and look at it."""
        talk, dead = self.talk, int(self.seen["before"]["pid"])
        event = await talk.operator.wait_for(
            self._notice_of, talk.room, what="word of the respawn", within_s=_PATIENCE_S
        )
        seconds = round(talk.witness.clock.steady() - self._begun, 3)
        trace, body = (str(event["content"][NOTICE_KEY]["trace"]), str(event["content"]["body"]))
        cause = body.rpartition("Trace: ")[2].strip()
        operation = await talk.witness.observe(
            "operation.record", {"trace": cause, "action": RESPAWN}
        )
        after = await self._status()
        alive = await talk.witness.observe("process.alive", {"pid": dead})
        self.seen |= {
            "after": after,
            "deadPidAlive": alive["alive"],
            "seconds": seconds,
            "operation": operation,
            "notice": {
                "eventId": event["event_id"],
                "sender": event["sender"],
                "trace": trace,
                "body": body[:500],
            },
        }

    def _notice_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        content = event.get("content")
        told = content.get(NOTICE_KEY) if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(told, dict):
            return None
        about = told.get("agents")
        mine = isinstance(about, list) and self.agent in about
        fresh = int(event["origin_server_ts"]) >= self._since_ts
        return event if mine and fresh and "started again" in str(content.get("body")) else None

    async def _status(self) -> Evidence:
        told = {"agent": self.agent, "trace": self.mark}
        return await self.talk.witness.observe("agents.status", told)

    async def evidence(self) -> Evidence:
        """Return all that was seen, with the rows of the audit log."""
        rows = await self.talk.witness.audit_rows(self.agent)
        trace = self.seen["operation"]["trace"]
        own = [row for row in rows if row["trace"] == trace and row["action"] in _ACTIONS]
        return {**self.seen, "audit": own}
