"""Verdict over a run: each command exactly one final answer, the right one, in its place."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soak import model
from soak.journal import Journal, Said
from soak.model import STOPPED, Answered
from soak.plan import Manner

REPLY_KEY = "org.agency.reply"
_FINAL_ROWS = {"done", "failed", "refused", "interrupted", "expired", "ignored"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind (lost, doubled, wrong), the command, and what was seen."""

    kind: str
    said: Said | None
    why: str
    seen: tuple[str, ...] = ()


@dataclass(slots=True)
class Evidence:
    """Contents of the room and of the audit log at the end of a run."""

    room: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    audit_verifies: bool
    bot: str
    strangers: frozenset[str]
    agents: tuple[str, ...]
    finals: dict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for event in self.room:
            meta = event.get("content", {}).get(REPLY_KEY)
            if isinstance(meta, dict) and event["sender"] == self.bot and meta.get("final"):
                self.finals[str(meta.get("command"))].append(event)
        for row in self.audit:
            if row["action"] != "reply" and (event_id := _detail(row).get("event")):
                self.rows[str(event_id)].append(str(row["outcome"]))

    def answer(self, event_id: str) -> Answered | None:
        """Return the first final answer to a command."""
        found = self.finals.get(event_id)
        if not found:
            return None
        first = min(found, key=lambda event: int(event["origin_server_ts"]))
        meta = first["content"][REPLY_KEY]
        at = first["origin_server_ts"] / 1000
        return Answered(at, meta.get("ok") is True, str(first["content"].get("body", "")))


def judge(journal: Journal, evidence: Evidence) -> list[Fault]:
    """List every fault of a run."""
    faults = [] if evidence.audit_verifies else [Fault("wrong", None, "the audit log is bad")]
    for said in journal.said:
        faults += _counted(said, evidence)
        faults += _placed(said, evidence)
    faults += _strangers(journal, evidence)
    order = {event["event_id"]: -number for number, event in enumerate(evidence.room)}
    said_in_order = sorted(journal.said, key=lambda said: order.get(said.event_id, 0))
    for agent in evidence.agents:
        faults += _Agent(agent, journal, evidence).judge(said_in_order)
    faults += [
        Fault("wrong", said, why, (answer.body,))
        for said in journal.said
        if (answer := evidence.answer(said.event_id)) is not None
        and (why := _plain(said, answer, journal))
    ]
    return faults


def _counted(said: Said, evidence: Evidence) -> list[Fault]:
    """Check that a command was answered once, and stands in the audit log once."""
    answers = evidence.finals.get(said.event_id, [])
    rows = Counter(evidence.rows.get(said.event_id, []))
    ends = sum(count for outcome, count in rows.items() if outcome in _FINAL_ROWS)
    bodies = tuple(str(event["content"].get("body", ""))[:300] for event in answers)
    faults = []
    if not answers and not said.redacted:
        faults.append(Fault("lost", said, f"no final answer; audit rows {dict(rows)}"))
    if len(answers) > 1:
        faults.append(Fault("doubled", said, f"{len(answers)} final answers", bodies))
    if rows["accepted"] > 1 or ends > 1:
        faults.append(Fault("doubled", said, f"audit rows {dict(rows)}", bodies))
    if ends == 0 and not (said.redacted and not answers):
        faults.append(Fault("lost", said, f"no end in the audit log: {dict(rows)}", bodies))
    if answers and answers[0]["content"][REPLY_KEY].get("ok") and not rows["done"]:
        faults.append(Fault("wrong", said, f"answered as done; audit rows {dict(rows)}", bodies))
    return faults


def _placed(said: Said, evidence: Evidence) -> list[Fault]:
    """Check that the answer stands in the thread where the question was."""
    faults = []
    for event in evidence.finals.get(said.event_id, []):
        relation = event["content"].get("m.relates_to", {})
        at = relation.get("m.in_reply_to", {}).get("event_id")
        if relation.get("event_id") != said.place or at != said.event_id:
            place = f"{relation.get('event_id')}, in reply to {at}"
            faults.append(Fault("wrong", said, f"answered at {place}, not at {said.place}"))
    return faults


def _plain(said: Said, answer: Answered, journal: Journal) -> str:
    """Check an answer without regard to agents' states; returns the fault."""
    step = said.step
    if step.manner in (Manner.EDIT, Manner.THREAD_EDIT):
        return "" if not answer.ok and "dited" in answer.body else "an edit was not refused"
    if step.changes:
        return ""
    if not answer.ok:
        excused = said.redacted or journal.met(said.sent, answer.at)
        return "" if excused else "a look failed, though nothing was in its way"
    begins = {"ping": "pong", "version": "agency ", "status": f"{step.agent}: "}.get(step.verb)
    return "" if begins is None or answer.body.startswith(begins) else "it answers another question"


def _strangers(journal: Journal, evidence: Evidence) -> list[Fault]:
    """Check that nobody but an operator was obeyed."""
    ours = {said.event_id for said in journal.said}
    return [
        Fault("wrong", None, f"{event_id} of a stranger was answered as done")
        for event_id, events in evidence.finals.items()
        if event_id not in ours and any(e["content"][REPLY_KEY].get("ok") for e in events)
    ] + [
        Fault("wrong", None, f"a row of {row['actor']}: {row['outcome']} {_detail(row)}")
        for row in evidence.audit
        if row["actor"] in evidence.strangers and row["outcome"] in ("accepted", "done")
    ]


@dataclass(slots=True)
class _Agent:
    """Check of the answers that tell of one agent against its model."""

    name: str
    journal: Journal
    evidence: Evidence
    spans: list[tuple[float, float, frozenset[str]]] = field(default_factory=list)

    def judge(self, said_in_order: Sequence[Said]) -> list[Fault]:
        """Walk through the changes in the order of the room, and then through the looks."""
        faults: list[Fault] = []
        state = frozenset({STOPPED})
        self.spans.append((0.0, 0.0, state))
        for said in said_in_order:
            if not self._is_mine(said) or not said.step.changes:
                continue
            answer = self.evidence.answer(said.event_id)
            if answer is None:  # taken back, or lost
                state |= model.wanted(said.step, state) | {STOPPED}
                self.spans.append((said.sent, float("inf"), state))
                continue
            excused = said.redacted or self._excused(said.sent, answer.at)
            state, why = model.after(said.step, state, answer, excused=excused)
            if why:
                faults.append(Fault("wrong", said, why, (answer.body,)))
            self.spans.append((said.sent, answer.at, state))
        for said in said_in_order:
            answer = self.evidence.answer(said.event_id)
            if answer is None or not answer.ok or said.step.verb not in ("status", "list"):
                continue
            if said.step.agent in ("", self.name) and not said.step.manner.endswith("edit"):
                faults += self._look(said, answer)
        return faults

    def _is_mine(self, said: Said) -> bool:
        return said.step.agent == self.name and not said.step.manner.endswith("edit")

    def _excused(self, begun: float, ended: float) -> bool:
        """Return whether a trouble may have ended the agent or kept a change from it.

        An agent that was ended stays so until its next start: all since the last change counts.
        """
        last = max((at for _, at, _ in self.spans if at < begun), default=0.0)
        return bool(self.journal.met(min(begun, last), ended))

    def _look(self, said: Said, answer: Answered) -> list[Fault]:
        """Check a state that was shown: it was one of those between question and answer."""
        shown = model.seen(answer.body, self.name)
        if shown is None:
            return []
        before = [span for span in self.spans if span[1] < said.sent]
        during = [s for s in self.spans if s[0] <= answer.at and s[1] >= said.sent]
        # While an agent starts, `list` shows it as running, and its project only at the end.
        begins = {model.NONE} if during and said.step.verb == "list" else set[str]()
        possible = begins.union(*(states for _, _, states in [*before[-1:], *during]))
        if shown in possible or (
            shown == STOPPED and (during or self._excused(said.sent, answer.at))
        ):
            return []
        why = f"{self.name} is shown as {shown}, and may be one of {sorted(possible)}"
        return [Fault("wrong", said, why, (answer.body[:300],))]


def _detail(row: Mapping[str, Any]) -> Mapping[str, Any]:
    detail = row["detail"]
    if isinstance(detail, str):
        detail = json.loads(detail)
    return detail if isinstance(detail, dict) else {}
