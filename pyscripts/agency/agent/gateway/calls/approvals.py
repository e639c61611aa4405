"""Approvals of single calls: asked, decided once by a person, used once, within their time.

    ask ──▶ pending ── approve ──▶ approved ── begin of the call ──▶ gone
               │────── deny ─────▶ denied     (the same call is not asked again in its time)
               └────── time ─────▶ gone

All of them are in the journal, so that an end of either side loses none. An approval is bound to
the digest of tool, arguments and policy; when the policy changes, those of the old one are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agency.agent.gateway.calls.journal import Asked, Closed, Journal
from agency.clock import Clock, iso, new_id
from agency.errors import AgencyError
from agency.protocols import MAX_APPROVALS, ApprovalDecision, PendingApproval, ProblemCode

Outcome = Literal["approved", "denied", "expired", "policy-changed"]
MAX_KEPT = 4 * MAX_APPROVALS  # denied ones among them


class TooManyApprovalsError(AgencyError):
    """As many approvals wait as may wait."""


class DecisionRefusedError(AgencyError):
    """A decision that does not count, with its HTTP status."""

    def __init__(self, status: int, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Question:
    """Question to a person: the exact call, or the changed tools of a server."""

    about: Literal["call", "tools"]
    tool: str
    digest: str
    policy: str
    rule: str | None
    shown: str
    trace: str | None


@dataclass(slots=True)
class _Entry:
    asked: Asked
    ends_steady: float
    waited_for: bool = False
    gone: Outcome | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Approvals:
    """Register of approvals; `changed` is called after each change of what waits."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        make_id: Callable[[], str] = lambda: new_id("ask"),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._make_id = make_id
        self._changed = changed
        self._entries: dict[str, _Entry] = {
            asked.id: _Entry(asked, clock.steady() + asked.expires_at - clock.wall())
            for asked in journal.left.approvals.values()
        }

    def waiting(self) -> tuple[PendingApproval, ...]:
        """List what waits for a person, oldest first."""
        self._drop_expired()
        found = [each.asked for each in self._entries.values() if each.asked.state == "pending"]
        return tuple(
            PendingApproval(
                id=each.id,
                kind=each.about,
                tool=each.tool,
                digest=each.digest,
                rule=each.rule,
                shown=each.shown,
                asked_at=iso(each.asked_at),
                expires_at=iso(each.expires_at),
                trace=each.trace,
            )
            for each in found[:MAX_APPROVALS]
        )

    def ask(self, question: Question, ttl_s: float) -> str:
        """Return the id of the approval of a question: one that nobody waits for, or a new one.

        Raises:
            TooManyApprovalsError: as many wait as may.
            OSError: it could not be put into the journal.
        """
        self._drop_expired()
        for entry in self._entries.values():
            if entry.asked.digest == question.digest and not entry.waited_for:
                return entry.asked.id
        pending = sum(each.asked.state == "pending" for each in self._entries.values())
        if pending >= MAX_APPROVALS or len(self._entries) >= MAX_KEPT:
            raise TooManyApprovalsError(f"{pending} calls wait for a person already")
        now = self._clock.wall()
        asked = Asked(
            about=question.about,
            id=self._make_id(),
            tool=question.tool,
            digest=question.digest,
            policy=question.policy,
            rule=question.rule,
            shown=question.shown,
            asked_at=now,
            expires_at=now + ttl_s,
            trace=question.trace,
        )
        self._journal.add(asked, durable=True)
        self._entries[asked.id] = _Entry(asked, self._clock.steady() + ttl_s)
        self._changed()
        return asked.id

    def outcome(self, approval: str) -> Outcome | None:
        """Return how an approval ended; None while it waits."""
        self._drop_expired()
        entry = self._entries.get(approval)
        if entry is None:
            return "expired"
        return None if entry.asked.state == "pending" else entry.asked.state

    async def wait(self, approval: str) -> Outcome:
        """Wait for the end of an approval, for its time at most."""
        entry = self._entries.get(approval)
        if entry is None:
            return "expired"
        entry.waited_for = True
        try:
            while (found := self.outcome(approval)) is None:
                left = min(
                    entry.asked.expires_at - self._clock.wall(),
                    entry.ends_steady - self._clock.steady(),
                )
                try:
                    async with asyncio.timeout(max(left, 0)):
                        await entry.changed.wait()
                except TimeoutError:
                    continue
            return entry.gone or found
        finally:
            entry.waited_for = False

    def check(self, approval: str, decision: ApprovalDecision) -> Asked:
        """Return what a decision is about, if it counts now; nothing is decided.

        Raises:
            DecisionRefusedError: there is no such approval, it is decided, or another was meant.
        """
        return self._decidable(approval, decision).asked

    def decide(self, approval: str, decision: ApprovalDecision) -> Asked:
        """Take a person's decision; whether this person may decide was checked before.

        Raises:
            DecisionRefusedError: as of `check`.
            OSError: it could not be put into the journal; nothing was decided.
        """
        entry = self._decidable(approval, decision)
        state: Literal["approved", "denied"] = (
            "approved" if decision.decision == "approve" else "denied"
        )
        decided = entry.asked.model_copy(update={"state": state, "decided_by": decision.decided_by})
        self._journal.add(decided, durable=True)
        entry.asked = decided
        entry.changed.set()
        self._changed()
        return decided

    def _decidable(self, approval: str, decision: ApprovalDecision) -> _Entry:
        self._drop_expired()
        entry = self._entries.get(approval)
        if entry is None:
            raise DecisionRefusedError(404, "unknown", "no approval of this id waits")
        if entry.asked.state != "pending":
            raise DecisionRefusedError(409, "ended", f"it is decided already: {entry.asked.state}")
        if entry.asked.digest != decision.digest:
            raise DecisionRefusedError(
                409, "hash-differs", "the digest is not that of the call that waits"
            )
        return entry

    def find(self, approval: str) -> Asked | None:
        """Return an approval that counts."""
        self._drop_expired()
        entry = self._entries.get(approval)
        return None if entry is None else entry.asked

    def use(self, approval: str, digest: str) -> bool:
        """Use up an approval for the call of this digest; return whether there was one to use."""
        self._drop_expired()
        entry = self._entries.get(approval)
        if entry is None or entry.asked.state != "approved" or entry.asked.digest != digest:
            return False
        self._close(entry, None)
        return True

    def keep_only(self, policy: str) -> None:
        """Drop the approvals of other policies; those who wait for them are told."""
        for entry in list(self._entries.values()):
            if entry.asked.policy != policy:
                self._close(entry, "policy-changed")

    def drop_tools(self, tool: str, but: str = "") -> None:
        """Drop the questions about the tools of a server, but for the one with this digest."""
        for entry in list(self._entries.values()):
            about = (entry.asked.about, entry.asked.tool) == ("tools", tool)
            if about and entry.asked.digest != but:
                self._close(entry, "expired")

    def _drop_expired(self) -> None:
        for entry in list(self._over()):
            self._close(entry, "expired")

    def _over(self) -> Iterator[_Entry]:
        wall, steady = self._clock.wall(), self._clock.steady()
        for entry in self._entries.values():
            if wall >= entry.asked.expires_at or steady >= entry.ends_steady:
                yield entry

    def _close(self, entry: _Entry, gone: Outcome | None) -> None:
        """Forget an approval; first, so that a journal that fails cannot keep it alive."""
        del self._entries[entry.asked.id]
        entry.gone = gone
        entry.changed.set()
        self._changed()
        self._journal.add(Closed(id=entry.asked.id), durable=True)
