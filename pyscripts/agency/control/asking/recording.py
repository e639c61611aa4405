"""Record of what agents ask: each change with its audit row and its messages, at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.control.ask import Ask, State
from agency.control.asking.judging import Guide, deciders
from agency.control.asking.wording import (
    end_edit,
    end_text,
    prompt_id,
    prompt_message,
    prompt_text,
    thread_message,
)
from agency.control.policy import SYSTEM, Policy
from agency.control.rooms.speaking import Speaker
from agency.control.store import asks, audit, gosuto, outbox
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.outbox import Message, StoredMessage
from agency.gosuto import read_canonical

ASKED, DECIDED, ENDED = "approval asked", "approval decided", "approval ended"
_OUTCOMES = {
    State.APPROVED: Outcome.GRANTED,
    State.DENIED: Outcome.REFUSED,
    State.EXPIRED: Outcome.EXPIRED,
    State.GONE: Outcome.WITHDRAWN,
    State.WAITING: Outcome.FAILED,
}


def guide_of(connection: Connection, agent: str) -> Guide:
    """Read who may decide on calls of an agent, and where, from its newest Gosuto."""
    newest = gosuto.newest(connection, agent)
    if newest is None:
        return Guide()
    approvals = read_canonical(newest.document.encode(), newest.sha256).approvals
    return Guide() if approvals is None else Guide(tuple(approvals.approvers), approvals.room or "")


@dataclass(frozen=True, slots=True)
class Recorder:
    """Recorder of asks. `is_own` tells the agency's own users from people."""

    speaker: Speaker
    policy: Callable[[], Policy]
    is_own: Callable[[str], bool]

    def begin(self, connection: Connection, ask: Ask, where: str) -> list[StoredMessage]:
        """Put a new ask on record and queue its prompt; nothing if it is there already.

        `where` names the room in which a typed decision counts.
        """
        if not asks.add(connection, ask):
            return []
        self._audit(connection, ask, ASKED, SYSTEM, Outcome.WAITING, agent=ask.agent)
        return self._prompt(connection, ask, where)

    def reopen(
        self, connection: Connection, before: Ask, after: Ask, where: str
    ) -> list[StoredMessage]:
        """Ask again, by another prompt: an ask was gone and is back, or its prompt was given up."""
        if not asks.move(connection, before, after):
            return []
        self._audit(connection, after, ASKED, SYSTEM, Outcome.WAITING, again=after.prompts)
        return self._prompt(connection, after, where)

    def decide(self, connection: Connection, before: Ask, after: Ask) -> bool:
        """Put a decision on record, before the agent is told; False if it came too late."""
        if not asks.move(connection, before, after):
            return False
        said = {"decision": after.decision, "reason": after.reason or None}
        self._audit(connection, after, DECIDED, after.decided_by, Outcome.ACCEPTED, **said)
        return True

    def end(
        self, connection: Connection, before: Ask, state: State, why: str = ""
    ) -> list[StoredMessage]:
        """Put the end of an ask on record, or that it waits again; its prompt and thread say so.

        Nothing if it is not as `before` any more.
        """
        after = replace(before, state=state)
        if state is State.WAITING:
            kept = replace(after, decision="", decided_by="", reason="", tries=0)
        else:
            kept = replace(after, shown="", reason="")
        if not asks.move(connection, before, kept):
            return []
        by = before.decided_by or SYSTEM
        said = {"decision": before.decision or None, "state": state.value, "why": why or None}
        self._audit(connection, before, ENDED, by, _OUTCOMES[state], tries=before.tries, **said)
        text = end_text(after, why)
        made: list[Message] = []
        if state is not State.WAITING:
            made.append(end_edit(after, text, as_user=self.speaker.as_user))
        event = outbox.event_of(connection, prompt_id(after))
        if event is not None:
            made.append(thread_message(after, text, event, as_user=self.speaker.as_user))
        return self._queued(connection, made)

    def _prompt(self, connection: Connection, ask: Ask, where: str) -> list[StoredMessage]:
        named = deciders(self.policy(), guide_of(connection, ask.agent), self.is_own)
        text = prompt_text(ask, named, where)
        return self._queued(connection, [prompt_message(ask, text, as_user=self.speaker.as_user)])

    def _queued(self, connection: Connection, made: list[Message]) -> list[StoredMessage]:
        now = self.speaker.clock.now_ms()
        queued = [outbox.add(connection, each, now) for each in made]
        return [each for each in queued if each is not None]

    def _audit(
        self,
        connection: Connection,
        ask: Ask,
        action: str,
        actor: str,
        outcome: Outcome,
        **more: object,
    ) -> None:
        detail = audit.audit_detail(**ask.facts, **more)
        entry = AuditEntry(ask.trace, actor, action, ask.agent, outcome, detail)
        audit.append(connection, self.speaker.clock, entry)
