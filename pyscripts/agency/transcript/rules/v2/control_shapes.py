"""Shapes of the evidence of control: rows, operations, answers, agents and searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency.transcript.rules.v1.rule import (
    All,
    Count,
    EventId,
    Http200,
    MatrixId,
    No,
    Pid,
    Seen,
    Sha256,
    Shape,
    Some,
    Yes,
    Zero,
    matches,
    only,
)
from agency.transcript.rules.v2.edge import Moment

_STORE, _LOGS = "control.db", ("journal", "log")

OperationId = Annotated[Seen, matches(r"op-[0-9a-f]{26}", "the id of an operation")]
SecretName = Annotated[Seen, matches(r"[a-z0-9][a-z0-9._-]{0,63}", "the name of a secret")]
AgentName = Annotated[Seen, matches(r"[a-z][a-z0-9-]{0,62}", "a name")]
Mark = Annotated[Seen, matches(r"canary-[0-9a-f]{24}", "a text that was planted")]
Http404 = Annotated[int, only(404)]
Step = tuple[str, str, str]  # of the audit log: actor, action and outcome


class Row(Shape):
    """A row of the audit log, with what its detail says."""

    sequence: Count
    ts: Moment
    trace: Seen
    actor: Seen
    action: Seen
    target: Seen
    outcome: Seen
    operation: OperationId | None = None
    digest: Sha256 | None = None
    version: int | str | None = None  # of a secret; of a respawned agent its program's
    lease: Seen | None = None
    held: Seen | None = None

    @property
    def step(self) -> Step:
        """The act and its actor."""
        return (self.actor, self.action, self.outcome)


class Operation(Shape):
    """An operation as the store has it."""

    id: OperationId
    cause: Seen
    actor: Seen
    action: Seen
    target: Seen
    digest: Sha256
    state: Seen
    trace: Seen


class StoredGrant(Shape):
    """A grant as the store has it: bound to a digest, and used up."""

    by: MatrixId
    digest: Sha256
    spent: Yes


class Gated(Operation):
    """An operation that a rule gates, with its grants."""

    rule: Seen
    grants: All[StoredGrant]


class Answer(Shape):
    """A message to the control room by somebody, and the reply to it."""

    event_id: EventId
    reply_id: EventId
    ok: bool
    reply: Seen

    @model_validator(mode="after")
    def _is_another(self) -> Self:
        if self.event_id == self.reply_id:
            raise ValueError("replyId: is the message itself")
        return self


class OwnApproval(Answer):
    """The approval of who asked: refused, and on record so."""

    by: MatrixId
    ok: No
    audit_outcome: Literal["refused"]


class Approved(Answer):
    """An approval by somebody else."""

    by: MatrixId
    ok: Yes


class Result(Answer):
    """The end of what was asked."""

    ok: Yes


class Prompt(Shape):
    """The message that asks for an approval, in the thread of the command."""

    event_id: EventId
    sender: MatrixId
    thread: EventId
    body: Seen


class InVault(Shape):
    """A secret in the vault."""

    present: Yes
    version: Count
    agents: Some[AgentName]


class NotInVault(Shape):
    """A secret that is not in the vault."""

    present: No
    agents: Annotated[tuple[str, ...], Field(strict=False, max_length=0)]


class HeldSecret(Shape):
    """A secret that an agent holds, by its own word."""

    name: SecretName
    version: Count


class Status(Shape):
    """An agent's own status by ACP."""

    agent: AgentName
    status: Http200
    pid: Pid
    incarnation: Seen


class Holding(Status):
    """Status of an agent that holds secrets."""

    secrets: Some[HeldSecret]


class Working(Status):
    """Status of an agent at work."""

    project: Seen


class Entered(Shape):
    """The value's way into the vault: the form, whose link leads nowhere afterwards."""

    by: Literal["form"]
    status: Http200
    status_again: Http404


class Planted(Shape):
    """The places where the search found what was planted."""

    findings: Count
    places: Some[Seen]

    @model_validator(mode="after")
    def _everywhere(self) -> Self:
        lacking = [place for place in ("room", "evidence") if place not in self.places]
        if not any(place.startswith(_STORE) for place in self.places):
            lacking.append("the store")
        if not any(place in _LOGS for place in self.places):
            lacking.append("the logs")
        if lacking:
            raise ValueError(f"places: what was planted was not found in {', '.join(lacking)}")
        return self


class Search(Shape):
    """The search for every secret of the run, which finds what was planted, and nothing else."""

    secrets_checked: Count
    files_searched: Count
    argv_searched: Count
    room_events: Count
    findings: Zero
    places: Annotated[tuple[str, ...], Field(strict=False, max_length=0)]
    planted: Planted


class Killed(Shape):
    """The end of the agent's process, by the means of its machine."""

    pid: Pid
    signal: Literal["SIGKILL", "SIGTERM"]
    means: Seen
    at: Moment


class Notice(Shape):
    """The message by which the room is told."""

    event_id: EventId
    sender: MatrixId
    trace: Seen
    body: Seen


def in_order(rows: Sequence[Row], wanted: Sequence[Step]) -> None:
    """Refuse rows that are not these, in this order.

    Raises:
        ValueError: a row is missing, or there is another.
    """
    found = [row.step for row in rows]
    numbers = [row.sequence for row in rows]
    if found != [*wanted] or sorted(set(numbers)) != numbers:
        said = ", ".join(f"{outcome} by {actor}" for actor, _, outcome in wanted)
        raise ValueError(f"audit: must be {said}")


def first_of(rows: Sequence[Row], step: Step, target: str) -> Row | None:
    """Return the first row of a step about a target."""
    return next((row for row in rows if (row.step, row.target) == (step, target)), None)
