"""Evidence of the conversation with the agency."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from agency.transcript.problems import explain
from agency.transcript.rules.v2.model import Exchange
from agency.transcript.rules.v2.rule import (
    Count,
    EventId,
    Http200,
    MatrixId,
    No,
    Pid,
    ProbeRule,
    Seen,
    Shape,
    Some,
    Verdict,
    Yes,
)

# The two ways to say it that a scenario uses: `!agency agents start pm` and `!start-agent pm`.
_AGENT_COMMAND = re.compile(
    r"(?:!agency|/ruriko)\s+agents\s+(start|status|stop)\s+(\S+)|!(start|stop)-agent\s+(\S+)"
    r"|!agent-(status)\s+(\S+)"
)


# The exchange in which the homeserver says again what it has said.
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Order:
    """Verb of a command and the agent that it is for."""

    verb: str
    agent: str


def order(said: str) -> Order | None:
    """Read the start, status or stop of one agent that a message asks for, if it does."""
    found = _AGENT_COMMAND.match(said)
    if found is None:
        return None
    verb, agent = (part for part in found.groups() if part is not None)
    return Order(verb, agent)


class Command(Shape):
    """One message to the control room, and the reply to it."""

    said: Seen
    event_id: EventId
    reply_id: EventId
    ok: bool
    expected_ok: bool
    matched: Yes
    trace: Seen
    reply: str

    @model_validator(mode="after")
    def _as_expected(self) -> Self:
        if self.ok != self.expected_ok:
            raise ValueError("ok: is not what was expected")
        if self.event_id == self.reply_id:
            raise ValueError("replyId: is the command itself")
        return self


class ScenarioCommands(Shape):
    """Everything that the operator said.

    Some agent must have been started for the project, then have shown the project in its status,
    then have been stopped, each with a good reply.
    """

    project: Seen
    commands: Some[Command]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("event_id", "reply_id", "trace"):
            if len({getattr(command, field) for command in self.commands}) != len(self.commands):
                raise ValueError(f"commands: two have one {field.replace('_', ' ')}")
        return self

    @model_validator(mode="after")
    def _covers_a_life(self) -> Self:
        wanted = ["start", "status", "stop"]
        longest = 0
        for agent in {asked.agent for command in self.commands if (asked := order(command.said))}:
            longest = max(longest, self._stages(agent, wanted))
        if longest < len(wanted):
            raise ValueError(
                f"commands: no agent was seen to {wanted[longest]}"
                + ("" if longest == len(wanted) - 1 else f" with project {self.project!r}")
            )
        return self

    def _stages(self, agent: str, wanted: list[str]) -> int:
        """Count the wanted verbs that this agent went through, in order."""
        stage = 0
        for command in self.commands:
            if stage == len(wanted):
                break
            if not command.ok or order(command.said) != Order(wanted[stage], agent):
                continue
            told = {"start": command.said, "status": command.reply}.get(wanted[stage])
            if told is None or self.project in told:
                stage += 1
        return stage


class ScenarioRefused(Shape):
    """A command from somebody who is no operator."""

    sender: MatrixId
    event_id: EventId
    reply_id: EventId
    ok: No
    executed: No
    audit_outcome: Literal["refused"]

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.event_id == self.reply_id:
            raise ValueError("replyId: is the command itself")
        return self


class ScenarioReplay(Shape):
    """The same event delivered again, in a new and in a used transaction."""

    transaction_statuses: Annotated[tuple[Http200, ...], Field(strict=False, min_length=2)]
    replies_before: Count
    replies_after: Count
    audit_count_before: Count
    audit_count_after: Count
    pid_before: Pid
    pid_after: Pid

    @model_validator(mode="after")
    def _nothing_happened(self) -> Self:
        pairs = {
            "repliesAfter": (self.replies_before, self.replies_after),
            "auditCountAfter": (self.audit_count_before, self.audit_count_after),
            "pidAfter": (self.pid_before, self.pid_after),
        }
        for name, (before, after) in pairs.items():
            if before != after:
                raise ValueError(f"{name}: {after} after the replay, {before} before it")
        return self


def judge_exchange(exchange: Exchange) -> Verdict:
    """Judge an exchange by its observations, whatever it says of itself."""
    shape = ScenarioReplay if exchange.name == REPLAY else Command
    try:
        seen = shape.model_validate(exchange.observed)
    except ValidationError as error:
        return Verdict(False, explain(error))
    if isinstance(seen, Command):
        if seen.said != exchange.said:
            return Verdict(False, "said: is not what was observed")
        if exchange.expected.split(",")[0] != f"ok={seen.expected_ok}":
            return Verdict(False, "expectedOk: is not what was expected")
    return Verdict(True)


RULES = (
    ProbeRule(
        "scenario.commands",
        "An operator starts an agent for a project, sees the project in its status, and stops it.",
        ScenarioCommands,
    ),
    ProbeRule(
        "scenario.refused",
        "A command from somebody who is no operator is refused, audited, and does nothing.",
        ScenarioRefused,
    ),
    ProbeRule(
        "scenario.replay",
        "A command that is delivered again runs once: no second reply, audit row or process.",
        ScenarioReplay,
    ),
)
