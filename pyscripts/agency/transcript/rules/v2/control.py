"""Rules of control: one approval granted, one secret delivered, one agent respawned.

Each is judged by what several parts say of it: the room, the store, the audit log, and the agent.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

from pydantic import Field, model_validator

from agency.transcript.rules.v1.rule import EventId, MatrixId, No, ProbeRule, Seen, Shape, Some
from agency.transcript.rules.v2.control_shapes import (
    AgentName,
    Approved,
    Entered,
    Gated,
    Holding,
    InVault,
    Killed,
    Mark,
    Notice,
    NotInVault,
    Operation,
    OwnApproval,
    Prompt,
    Result,
    Row,
    Search,
    SecretName,
    Step,
    Working,
    first_of,
    in_order,
)

GATE = ("approval.granted", "secret.delivered", "agent.respawned")
SYSTEM, LINK = "system", "link"  # actors of the audit log that are no people

_DELETE, _RESPAWN, _WATCH = "secrets delete", "agents respawn", "agents watch"


class ApprovalGranted(Shape):
    """A gated command: asked by one person, granted by others, and carried out."""

    requester: MatrixId
    request_id: EventId
    said: Seen
    trace: Seen
    prompt: Prompt
    asked: Gated
    own_approval: OwnApproval
    grants: Some[Approved]
    result: Result
    done: Gated
    secret_before: InVault
    secret_after: NotInVault
    audit: Some[Row]

    @model_validator(mode="after")
    def _one_operation(self) -> Self:
        asked, done = self.asked, self.done
        made = hashlib.sha256(f"matrix/{self.request_id}".encode()).hexdigest()[:26]
        if asked.id != f"op-{made}":
            raise ValueError("asked.id: not the operation of requestId")
        if (asked.state, done.state) != ("waiting", "done"):
            raise ValueError("asked.state, done.state: did not wait first and end then")
        for name in ("id", "cause", "actor", "action", "target", "digest", "trace", "rule"):
            if getattr(asked, name) != getattr(done, name):
                raise ValueError(f"done.{name}: not that of asked")
        if (asked.cause, asked.actor, asked.trace) != ("matrix", self.requester, self.trace):
            raise ValueError("asked: not what the requester asked for in the room")
        if asked.grants:
            raise ValueError("asked.grants: it was granted already")
        if self.said != f"!agency {_DELETE} {asked.target.removeprefix('secret ')}":
            raise ValueError("said: not the command of the operation")
        return self

    @model_validator(mode="after")
    def _in_the_thread(self) -> Self:
        if {self.prompt.thread, self.result.event_id} != {self.request_id}:
            raise ValueError("prompt.thread, result.eventId: not in the thread of requestId")
        if self.asked.id not in self.prompt.body or self.requester not in self.prompt.body:
            raise ValueError("prompt.body: does not name the operation and who asks")
        answers = (self.own_approval, *self.grants, self.result)
        events = [self.prompt.event_id, *(each.event_id for each in answers)]
        events += [each.reply_id for each in answers]
        if len(set(events)) != len(events):
            raise ValueError("eventId: two are the same")
        return self

    @model_validator(mode="after")
    def _by_others(self) -> Self:
        people = [grant.by for grant in self.grants]
        if self.own_approval.by != self.requester:
            raise ValueError("ownApproval.by: not who asked")
        if self.requester in people:
            raise ValueError("grants.by: who asked approved it")
        if len(set(people)) != len(people) or {*people} != {one.by for one in self.done.grants}:
            raise ValueError("done.grants: not those of the people in grants")
        if any(one.digest != self.done.digest for one in self.done.grants):
            raise ValueError("done.grants: one is of another digest")
        return self

    @model_validator(mode="after")
    def _on_record(self) -> Self:
        who, by = self.requester, [grant.by for grant in self.grants]
        wanted = [
            (who, _DELETE, "waiting"),
            *((each, _DELETE, "granted") for each in by),
            (who, _DELETE, "accepted"),
            (who, _DELETE, "done"),
        ]
        in_order(self.audit, wanted)
        for row in self.audit:
            if (row.trace, row.target) != (self.trace, self.asked.target):
                raise ValueError("audit: a row is of another operation")
            bound = (row.operation, row.digest) == (self.asked.id, self.asked.digest)
            if row.outcome == "granted" and not bound:
                raise ValueError("audit.digest: a grant is of another operation or digest")
        return self


class SecretDelivered(Shape):
    """A secret that an agent holds: entered by the form, leased, redeemed, and nowhere in the open.

    `audit` are the rows about the secret and its delivery.
    """

    secret: SecretName
    agent: AgentName
    set_id: EventId
    bind_id: EventId
    entered: Entered
    held: Holding
    mark: Mark
    audit: Some[Row]
    search: Search

    @model_validator(mode="after")
    def _holds_it(self) -> Self:
        if self.held.agent != self.agent:
            raise ValueError("held.agent: another agent's status")
        if (self.secret, 1) not in {(one.name, one.version) for one in self.held.secrets}:
            raise ValueError("held.secrets: the agent does not say that it holds version 1")
        return self

    @model_validator(mode="after")
    def _on_record(self) -> Self:
        target = f"secret {self.secret}"
        people = {row.actor for row in self.audit if row.action == "secrets bind"}
        if len(people) != 1 or not min(people).startswith("@"):
            raise ValueError("audit: not one person bound it")
        who = min(people)
        wanted: list[tuple[Step, str]] = [
            ((who, "secrets set", "done"), target),
            ((LINK, "secrets enter", "done"), target),
            ((who, "secrets bind", "done"), target),
            ((f"agent:{self.agent}", "secrets redeem", "done"), target),
            ((SYSTEM, "secrets deliver", "done"), self.agent),
        ]
        found = [
            row
            for step, about in wanted
            for row in [first_of(self.audit, step, about)]
            if row is not None
        ]
        if len(found) != len(wanted):
            seen = {(row.step, row.target) for row in found}
            missing = next(step for step, about in wanted if (step, about) not in seen)
            raise ValueError(f"audit: lacks {missing[1]} by {missing[0]}")
        if sorted(row.sequence for row in found) != [row.sequence for row in found]:
            raise ValueError("audit: not in the order of a delivery")
        _, entered, _, redeemed, delivered = found
        if (entered.version, redeemed.version) != (1, 1) or redeemed.lease is None:
            raise ValueError("audit: no lease of version 1 was redeemed")
        if delivered.held is None or f"{self.secret} 1" not in delivered.held.split(", "):
            raise ValueError("audit.held: the delivery was of something else")
        return self


class AgentRespawned(Shape):
    """An agent that was killed and that the control plane started again by itself."""

    agent: AgentName
    before: Working
    killed: Killed
    after: Working
    dead_pid_alive: No
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    operation: Operation
    notice: Notice
    audit: Some[Row]

    @model_validator(mode="after")
    def _another_process(self) -> Self:
        before, after = self.before, self.after
        if {before.agent, after.agent} != {self.agent}:
            raise ValueError("before, after: another agent's status")
        if self.killed.pid != before.pid:
            raise ValueError("killed.pid: not the process from before")
        if after.pid == before.pid:
            raise ValueError("after.pid: the process from before")
        if after.incarnation == before.incarnation:
            raise ValueError("after.incarnation: that from before")
        if after.project != before.project:
            raise ValueError("after.project: not what the agent was at")
        return self

    @model_validator(mode="after")
    def _by_itself(self) -> Self:
        done = self.operation
        wanted = ("reconcile", SYSTEM, _RESPAWN, self.agent, "done")
        if (done.cause, done.actor, done.action, done.target, done.state) != wanted:
            raise ValueError("operation: not a respawn of the agent by the system, or not done")
        watch = (SYSTEM, _WATCH, "failed")
        in_order(self.audit, [watch, *((SYSTEM, _RESPAWN, end) for end in ("accepted", "done"))])
        if {(row.trace, row.target) for row in self.audit} != {(done.trace, self.agent)}:
            raise ValueError("audit: a row is of another operation")
        return self

    @model_validator(mode="after")
    def _told(self) -> Self:
        told = (self.agent, str(self.after.pid), f"Trace: {self.operation.trace}")
        if not all(each in self.notice.body for each in told):
            raise ValueError("notice.body: does not tell the agent, its process and the trace")
        return self


RULES = (
    ProbeRule(
        "approval.granted",
        "A gated command waits in its thread, is refused to who asked, and runs when others "
        "approved exactly it.",
        ApprovalGranted,
    ),
    ProbeRule(
        "secret.delivered",
        "A value that was entered by the one-time form is leased to an agent, which says that it "
        "holds it; it stands nowhere in the open, where a planted text is found.",
        SecretDelivered,
    ),
    ProbeRule(
        "agent.respawned",
        "An agent's process is killed; the control plane finds it, starts it again by itself, and "
        "tells the room.",
        AgentRespawned,
    ),
)
