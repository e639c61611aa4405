"""An operation: one command, its states, and the digest to which approvals are bound.

proposed ──▶ waiting ──▶ granted ──▶ running ──▶ done | failed | refused
    │           │           │
    │           └───────────┴──▶ refused | expired
    └──▶ granted | refused, and for a look: done | failed | refused

What has not begun may become withdrawn: its message was deleted, or a person took it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from agency.canonical import canonical_json, sha256_hex
from agency.control.events import IncomingEvent
from agency.control.grammar.typography import WHITE, plain
from agency.control.policy import Role
from agency.errors import InternalError

FUTURE_MS = 300_000  # by which clocks may differ


class State(StrEnum):
    """State of an operation."""

    PROPOSED = "proposed"  # stored, and not decided on
    WAITING = "waiting"  # for an approval
    GRANTED = "granted"  # may run, and waits for its turn
    RUNNING = "running"  # executes; after a crash it is answered, and not run again
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"  # its deadline passed before it began
    WITHDRAWN = "withdrawn"  # it was taken back before it began


FINAL = frozenset({State.DONE, State.FAILED, State.REFUSED, State.EXPIRED, State.WITHDRAWN})

MOVES: Mapping[State, frozenset[State]] = {
    State.PROPOSED: frozenset({State.WAITING, State.GRANTED}) | FINAL,
    State.WAITING: frozenset({State.GRANTED, State.REFUSED, State.EXPIRED, State.WITHDRAWN}),
    State.GRANTED: frozenset({State.RUNNING}) | FINAL - {State.DONE},
    State.RUNNING: frozenset({State.DONE, State.FAILED, State.REFUSED}),
    **{state: frozenset[State]() for state in FINAL},
}


def check_move(before: State, after: State) -> None:
    """Check that an operation may go from one state to another.

    Raises:
        InternalError: it may not.
    """
    if after not in MOVES[before]:
        raise InternalError(f"an operation that is {before} cannot become {after}")


class OriginKind(StrEnum):
    """The way by which a command came; its answer goes back the same way."""

    MATRIX = "matrix"  # the thread of its event
    CLI = "cli"  # the operation's own row, for the caller to read
    HTTP = "http"  # likewise
    RECONCILE = "reconcile"  # likewise; never changes the desired state


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of a command; `id` is unique within its kind.

    `ts` is when it was sent, in milliseconds since the epoch; `thread` is where it is answered.
    `understood` is the canonical command if readers of the room may see another text; then `typed`
    is the text of the message, and `shown` the SHA-256 of its HTML, if that says something else.
    `role` is the most that the token gives by which it came.
    """

    kind: OriginKind
    id: str
    ts: int
    room_id: str = ""
    thread: str = ""
    understood: str = ""
    typed: str = ""
    shown: str = ""
    role: Role | None = None

    @classmethod
    def of_event(cls, event: IncomingEvent) -> Origin:
        """Return the origin of a command in a message."""
        thread = event.thread or event.replaces or event.event_id
        return cls(OriginKind.MATRIX, event.event_id, event.origin_ts, event.room_id, thread)

    def restated(self, event: IncomingEvent, text: str, canonical: str) -> Origin:
        """Return the origin of a command that was understood as `canonical`.

        `text` is what was parsed. If people may see another text, replies quote the command.
        """
        if not event.shown and event.text.strip(WHITE) == plain(text).strip(" "):
            return self
        shown = sha256_hex(event.shown.encode(errors="surrogatepass")) if event.shown else ""
        return replace(self, understood=canonical, typed=event.text, shown=shown)

    @property
    def restatement(self) -> dict[str, str]:
        """Texts that were typed, shown and understood; empty if all are the same."""
        parts = {"understood": self.understood, "typed": self.typed, "shown": self.shown}
        return {key: value for key, value in parts.items() if value}

    def record(self) -> str:
        """Encode the origin for the store."""
        facts = {"id": self.id, "ts": self.ts, "room": self.room_id, "thread": self.thread}
        limit = {} if self.role is None else {"role": str(self.role)}
        return json.dumps({**facts, **self.restatement, **limit}, separators=(",", ":"))

    @classmethod
    def read(cls, kind: str, record: str) -> Origin:
        """Decode an origin from the store."""
        kept = json.loads(record)
        again = {key: kept.get(key, "") for key in ("understood", "typed", "shown")}
        role = Role(kept["role"]) if "role" in kept else None
        where = kept["room"], kept["thread"]
        return cls(OriginKind(kind), kept["id"], kept["ts"], *where, **again, role=role)

    @property
    def facts(self) -> dict[str, object]:
        """The facts about the origin for the audit log."""
        if self.kind is not OriginKind.MATRIX:
            asked = {} if self.kind is OriginKind.RECONCILE else {"request": self.id}
            return {"cause": str(self.kind), **asked}
        said = {key: text for key, text in self.restatement.items() if key != "understood"}
        return {"event": self.id, **said}  # what was understood stands in `said` of the entry


def operation_id(origin: Origin) -> str:
    """Derive the id of the operation with this origin: the same origin gives the same operation."""
    return f"op-{sha256_hex(f'{origin.kind}/{origin.id}'.encode())[:26]}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One command on its way. Times are milliseconds since the epoch.

    `said` is the command's canonical text; `rule` the approval rule that it must satisfy; `basis`
    the digest of what its target was to be when approvals were asked for; `replies` counts the
    replies made before the final one.
    """

    origin: Origin
    actor: str
    action: str
    said: str
    target: str
    trace: str
    created_ts: int
    deadline_ts: int
    state: State = State.PROPOSED
    rule: str | None = None
    basis: str = ""
    replies: int = 0
    stored: bool = False

    @property
    def id(self) -> str:
        """The id derived from the origin."""
        return operation_id(self.origin)

    @property
    def short(self) -> str:
        """The beginning of the id that people are shown, and may give in its place."""
        return self.id[:9]

    def was_put_back(self, now_ms: int) -> bool:
        """Return whether the clock was put back since: then the deadline means nothing."""
        return self.created_ts - now_ms > FUTURE_MS

    def is_late(self, now_ms: int) -> bool:
        """Return whether it may not begin any more."""
        return self.deadline_ts <= now_ms or self.was_put_back(now_ms)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that an approval covers."""
        covered = {
            "operation": self.id,
            "actor": self.actor,
            "origin": [str(self.origin.kind), self.origin.id],
            "command": self.said,
            "target": self.target,
            "rule": self.rule,
            "deadline": self.deadline_ts,
            **({"basis": self.basis} if self.basis else {}),
            **self.origin.restatement,
        }
        return sha256_hex(canonical_json(covered))
