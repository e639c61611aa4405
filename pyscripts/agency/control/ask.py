"""An approval that an agent asks for: its states, its id, and what follows from both. Pure.

waiting ──▶ decided ──▶ approved | denied    (the agent took the decision)
   ▲  │        │                             (waiting ──▶ waiting: another prompt)
   │  │        ├──▶ waiting                  (who decided may not, by the agent or by now)
   │  └────────┴──▶ expired | gone           (its time, or the agent asks no more)
   └── gone                                  (the agent asks the same again: another prompt)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agency.canonical import canonical_json, sha256_hex
from agency.errors import InternalError

BEGINNING = "ask-"  # of an id, so that people and programs tell it from an operation's
MOST_PROMPTS = 3  # for one question that goes and comes again


class State(StrEnum):
    """State of an ask."""

    WAITING = "waiting"  # for a person
    DECIDED = "decided"  # by a person; the agent has not taken it yet
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    GONE = "gone"  # the agent asks no more


OPEN = frozenset({State.WAITING, State.DECIDED})
MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.WAITING, State.DECIDED, State.EXPIRED, State.GONE}),
    State.DECIDED: frozenset(State) - {State.DECIDED},
    State.GONE: frozenset({State.WAITING}),
    **{each: frozenset[State]() for each in (State.APPROVED, State.DENIED, State.EXPIRED)},
}


class Verdict(StrEnum):
    """Decision of a person, as ACP names it."""

    APPROVE = "approve"
    DENY = "deny"

    @property
    def ends(self) -> State:
        """The state of an ask whose agent took it."""
        return State.APPROVED if self is Verdict.APPROVE else State.DENIED


def check_move(before: State, after: State) -> None:
    """Check that an ask may go from one state to another.

    Raises:
        InternalError: it may not.
    """
    if after not in MOVES[before]:
        raise InternalError(f"an approval that is {before} cannot become {after}")


def ask_id(agent: str, number: str, digest: str) -> str:
    """Derive the id of an ask: another agent, question or digest is another ask."""
    return BEGINNING + sha256_hex(canonical_json([agent, number, digest]))[:26]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of an agent. Times are milliseconds since the epoch.

    Attributes:
        number: The agent's own id of it.
        kind: `call`, or `tools` for a list of tools that changed.
        digest: Of the exact call or list under the exact policy, as the agent says.
        shown: What people are shown, without secrets; empty once it has ended.
        room_id: Where its prompt stands.
        prompts: How many prompts it had; the last one counts.
        decision: The decision on record, a Verdict; empty without one.
        decided_ts: When that was put on record; it is part of the idempotency key.
        tries: How often the decision was sent.
    """

    id: str
    agent: str
    number: str
    kind: str
    tool: str
    digest: str
    rule: str | None
    shown: str
    asked_ts: int
    expires_ts: int
    trace: str
    room_id: str
    prompts: int = 1
    state: State = State.WAITING
    decision: str = ""
    decided_by: str = ""
    decided_ts: int = 0
    reason: str = ""
    tries: int = 0

    @property
    def short(self) -> str:
        """The beginning of the id that people are shown, and may give in its place."""
        return self.id[: len(BEGINNING) + 6]

    @property
    def is_open(self) -> bool:
        """Return whether it has not ended."""
        return self.state in OPEN

    @property
    def verdict(self) -> Verdict:
        """The decision on record; there must be one."""
        return Verdict(self.decision)

    @property
    def key(self) -> str:
        """The idempotency key of its decision: the same for every sending of the same one."""
        said = [self.id, self.decision, self.decided_by, self.decided_ts]
        return BEGINNING + sha256_hex(canonical_json(said))[:40]

    def is_late(self, now_ms: int) -> bool:
        """Return whether its time has passed."""
        return self.expires_ts <= now_ms

    @property
    def facts(self) -> dict[str, object]:
        """Facts for the audit log: the arguments only by their digest."""
        return {
            "approval": self.id,
            "asked_as": self.number,
            "tool": self.tool,
            "digest": self.digest,
            "rule": self.rule,
        }
