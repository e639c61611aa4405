"""Approval in the conversation: asked for by one person, refused to them, granted by others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.matrix import Person
from agency.protocols import REPLY_KEY, Reply
from agency.spinup.record import Evidence
from agency.spinup.scenario.accounts import ConversationError
from agency.spinup.scenario.conversation import Conversation
from agency.spinup.scenario.staging import GATED

_PROMPTED = "needs an approval"


@dataclass(slots=True)
class Approval:
    """Erasing of a secret, which takes an approval. `mark` is the reason that approvers give."""

    talk: Conversation
    approvers: tuple[Person, ...]
    secret: str
    mark: str
    seen: Evidence = field(default_factory=dict)

    async def hold(self) -> None:
        """Ask, see the prompt, be refused one's own approval, have others approve, read the end."""
        talk, text = self.talk, f"!agency {GATED} {self.secret}"
        before = await talk.witness.observe("vault.secret", {"secret": self.secret})
        request = await talk.say(text)
        prompt = await talk.operator.wait_for(
            lambda event: _prompt_of(event, request), talk.room, what="a prompt for an approval"
        )
        trace = str(prompt["content"][REPLY_KEY]["trace"])
        told = {"trace": trace, "action": GATED}
        operation = await talk.witness.observe("operation.record", told)
        approve = f"!agency approvals approve {operation['id']}"
        own = await talk.ask("own approval", approve, ok=False, contains="who asked for it")
        refused = await talk.witness.audit_outcome(own.trace)
        grants = [await self._grant(who, approve) for who in self.approvers]
        result = await talk.heard("gated", text, request, ok=True)
        done = await talk.witness.observe("operation.record", told)
        after = await talk.witness.observe("vault.secret", {"secret": self.secret})
        self.seen = {
            "requester": talk.operator.user_id,
            "requestId": request,
            "said": text,
            "trace": trace,
            "prompt": _prompt_evidence(prompt),
            "asked": operation,
            "ownApproval": {
                **_answer(own),
                "by": talk.operator.user_id,
                "auditOutcome": refused,
            },
            "grants": grants,
            "result": _answer(result),
            "done": done,
            "secretBefore": before,
            "secretAfter": after,
        }

    async def _grant(self, who: Person, approve: str) -> Evidence:
        reply = await self.talk.ask("approval", f"{approve} {self.mark}", ok=True, who=who)
        return {**_answer(reply), "by": who.user_id}

    async def evidence(self) -> Evidence:
        """Return all that was seen, with the rows of the audit log.

        Raises:
            ConversationError: nobody could approve, so nothing was asked.
        """
        if not self.seen:
            raise ConversationError(
                "nobody can approve what the first operator asks for, so nothing was asked",
                hint="give the password of another operator or approver",
            )
        target = f"secret {self.secret}"
        rows = await self.talk.witness.audit_rows(target)
        return {**self.seen, "audit": [row for row in rows if row["trace"] == self.seen["trace"]]}


def _prompt_of(event: Mapping[str, Any], request: str) -> Mapping[str, Any] | None:
    """Return an event if it asks for the approval of a command."""
    content = event.get("content")
    said = content.get(REPLY_KEY) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(said, dict):
        return None
    is_prompt = said.get("command") == request and said.get("final") is False
    return event if is_prompt and _PROMPTED in str(content.get("body")) else None


def _prompt_evidence(event: Mapping[str, Any]) -> Evidence:
    content = event["content"]
    return {
        "eventId": event["event_id"],
        "sender": event["sender"],
        "thread": content["m.relates_to"]["event_id"],
        "body": content["body"][:1000],
    }


def _answer(reply: Reply) -> Evidence:
    return {
        "eventId": reply.command,
        "replyId": reply.event_id,
        "ok": reply.ok,
        "reply": reply.body[:300],
    }
