"""Rule of agents: one did a task by its policy, on record, and nobody else got at what is its."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency import naming
from agency.transcript.rules.v1.rule import (
    Count,
    EventId,
    MatrixId,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    matches,
)

Commit = Annotated[str, matches(r"[0-9a-f]{40}", "the digest of a commit")]
RoomId = Annotated[Seen, matches(r"![\x21-\x7e]{1,254}", "the id of a room")]
STRANGERS = ("another agent", "nobody")
# Of each door, by whom it is tried: the agent itself, and all others. A number is a status.
DOORS: dict[str, tuple[object, object]] = {
    "gateway": (200, "refused"),
    "gateway without token": (401, "refused"),
    "proxy": (200, None),
    "proxy without token": (401, None),
    "proxy by another token": (401, None),
    "policy": ("read", "refused"),
    "handed token": ("refused", "refused"),
    "credential": ("read", "refused"),
    "provider's key": ("refused", "refused"),
    "ledger": ("refused", "refused"),
}
_EVENTS = ("message.taken", "model.called", "tool.decided", "tool.ended", "message.ended")


class Task(Shape):
    """The task: who gave it where, and by which policy it was done."""

    event_id: EventId
    room_id: RoomId
    sender: MatrixId
    sha256: Sha256
    policy: Sha256


class Answer(Shape):
    """The last word of the agent, in the thread of the task."""

    event_id: EventId
    sender: MatrixId
    thread: EventId
    body: Seen


class Request(Shape):
    """A request that came to the model."""

    request: Count
    turn: Seen
    offered: Some[Seen]
    key_sha256: Sha256


class Model(Shape):
    """The model: a scripted one, which says so."""

    kind: Literal["scripted"]
    unit: Seen
    requests: Some[Request]
    key_sha256: Sha256


class Call(Shape):
    """A call of a tool, by the audit log; one that was not made has no outcome.

    `rule` is the rule of the policy that decided it; a call may be denied by none.
    """

    tool: Annotated[Seen, matches(r"[a-z][a-z0-9_-]*/[a-z][a-z0-9_-]*", "a tool")]
    decision: Literal["allow", "ask", "deny"]
    arguments: Sha256
    rule: Seen | None = None
    outcome: Literal["done"] | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.decision != "deny" and (self.rule is None or self.outcome is None):
            raise ValueError("rule, outcome: a call that was allowed has both")
        return self


class Metered(Shape):
    """A call of the model, by the proxy; it costs money, in billionths of a dollar."""

    model: Seen
    provider: Seen
    outcome: Literal["done"]
    status: Literal[200]
    tokens: Count
    cost_nanos: Count
    request_sha256: Sha256


class Row(Shape):
    """A row of the agents' audit log."""

    event: Seen
    sequence: Count
    uid: Count


class Audit(Shape):
    """The rows of the task, from its message to its end."""

    first: Count
    last: Count
    rows: Some[Row]


class Branch(Shape):
    """The branch that was handed in, and the test on it."""

    name: Seen
    commit: Commit
    parent: Commit
    files: Some[Seen]
    author: Seen
    test_status: Literal[0]
    pushed: Literal[False]


class Unit(Shape):
    """A unit, by systemd."""

    name: Seen
    active: Seen
    restarts: Annotated[int, Field(ge=0)]


class Attempt(Shape):
    """An attempt of a user at something of the agent's."""

    user: Seen
    door: Seen
    outcome: Literal["answered", "read", "refused"]
    status: int | None = None  # of an answer
    bytes: Count | None = None  # that were read
    reason: Seen | None = None  # of a refusal

    @model_validator(mode="after")
    def _told(self) -> Self:
        told = {"answered": self.status, "read": self.bytes, "refused": self.reason}
        if [how for how, value in told.items() if value is not None] != [self.outcome]:
            raise ValueError("status, bytes, reason: not the one that its outcome has")
        return self

    @property
    def came(self) -> object:
        """A status, or how it ended."""
        return self.status if self.outcome == "answered" else self.outcome


class After(Shape):
    """The units and tokens of the agent after its end."""

    units: Some[Unit]
    attempts: Some[Attempt]


class AgentWorked(Shape):
    """A task, from the message that gave it to a branch, and who else may."""

    agent: Seen
    role: Seen
    task: Task
    answer: Answer
    outcome: Literal["answered"]
    model: Model
    calls: Some[Call]
    models: Some[Metered]
    audit: Audit
    branch: Branch
    units: Some[Unit]
    attempts: Some[Attempt]
    after: After

    @model_validator(mode="after")
    def _by_its_account(self) -> Self:
        own = naming.agent_localpart(self.agent)
        domain = self.task.sender.partition(":")[2]
        if self.answer.sender != naming.matrix_id(own, domain):
            raise ValueError("answer.sender: not the agent")
        if self.answer.thread != self.task.event_id:
            raise ValueError("answer.thread: not that of the task")
        if self.branch.author != naming.agent_user(self.agent):
            raise ValueError("branch.author: not the agent")
        if not self.branch.name.startswith(f"{naming.agent_user(self.agent)}/"):
            raise ValueError("branch.name: not one of the agent's own")
        if self.branch.commit == self.branch.parent:
            raise ValueError("branch.commit: nothing was handed in")
        return self

    @model_validator(mode="after")
    def _decided(self) -> Self:
        made = [call for call in self.calls if call.outcome is not None]
        denied = [call for call in self.calls if call.decision == "deny"]
        if not [call for call in made if call.decision == "allow"]:
            raise ValueError("calls: none was allowed and made")
        if not denied:
            raise ValueError("calls: none was denied")
        if any(call.decision == "deny" for call in made):
            raise ValueError("calls: one that was denied was made")
        asked = {each.turn for each in self.model.requests if each.turn != "answer"}
        unoffered = asked - {name for each in self.model.requests for name in each.offered}
        if not unoffered:
            raise ValueError("model.requests: none asked for a tool that was not offered")
        if unoffered & {call.tool.replace("/", "__") for call in made}:
            raise ValueError("calls: one of a tool that was not offered was made")
        return self

    @model_validator(mode="after")
    def _metered(self) -> Self:
        if len(self.models) != len(self.model.requests):
            raise ValueError("models: not as many calls as requests that came to the model")
        if any(each.key_sha256 != self.model.key_sha256 for each in self.model.requests):
            raise ValueError("model.requests: not by the provider's key")
        return self

    @model_validator(mode="after")
    def _on_record(self) -> Self:
        rows = self.audit.rows
        if [each.sequence for each in rows] != list(range(self.audit.first, self.audit.last + 1)):
            raise ValueError("audit.rows: one is missing")
        missing = [name for name in _EVENTS if name not in {each.event for each in rows}]
        if missing:
            raise ValueError(f"audit.rows: lack {', '.join(missing)}")
        by_others = {each.uid for each in rows if each.event == "model.called"}
        if by_others != {naming.SERVICE_UIDS["proxy"]}:
            raise ValueError("audit.rows: what a model cost was not told by the proxy")
        return self

    @model_validator(mode="after")
    def _nobody_else(self) -> Self:
        agent = naming.agent_user(self.agent)
        tried = {(each.user, each.door): each for each in self.attempts}
        users = {each.user for each in self.attempts} - {agent}
        others = [user for user in users if user.startswith(naming.agent_user(""))]
        if not others or "nobody" not in users:
            raise ValueError("attempts: lack another agent, or nobody")
        for door, (own, foreign) in DOORS.items():
            self._came(tried.get((agent, door)), (own,), f"{door}, by the agent")
            for user in users:
                # Whoever is no agent reaches the proxy's port, and gets no further than its token.
                wanted = (foreign,) if foreign else _of_proxy(door, is_agent=user != "nobody")
                self._came(tried.get((user, door)), wanted, f"{door}, by {user}")
        return self

    @staticmethod
    def _came(attempt: Attempt | None, wanted: tuple[object, ...], what: str) -> None:
        if attempt is None or attempt.came not in wanted:
            raise ValueError(f"attempts: {what}: not {' or '.join(map(str, wanted))}")

    @model_validator(mode="after")
    def _ended(self) -> Self:
        beside = [f"agency-agent-{what}@{self.agent}.service" for what in ("gateway", "chat")]
        own = {naming.agent_unit(self.agent), *beside}
        active = {unit.name for unit in self.units if unit.active == "active"}
        if not {*own, "agency-proxy.service"} <= active:
            raise ValueError("units: one of them does not run")
        left = {unit.name: unit.active for unit in self.after.units}
        if any(left.get(name) != "inactive" for name in own):
            raise ValueError("after.units: one of them did not end with the agent")
        came = {each.door: each.came for each in self.after.attempts}
        if came != {"gateway": "refused", "proxy": 401}:
            raise ValueError("after.attempts: a token still opens a door")
        return self


def _of_proxy(door: str, *, is_agent: bool) -> tuple[object, ...]:
    if is_agent:
        return ("refused",)
    return (200,) if door == "proxy" else (401,)


RULES = (
    ProbeRule(
        "agent.worked",
        "An agent does a task that a person gives it in a room: each call of a tool is decided by "
        "its policy and on record, models are asked through the metering proxy alone, and no other "
        "agent gets at its gateway, its account at the proxy or its tokens.",
        AgentWorked,
        frozenset(),
    ),
)
