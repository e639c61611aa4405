"""The questions that `agency observe` answers, as they travel on its standard input."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MAX_QUESTIONS = 32
MAX_BYTES = 1024 * 1024
Pid = Annotated[int, Field(gt=1)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Outbound(_Question):
    """Which interfaces there are, and how attempts to leave the machine end."""

    what: Literal["outbound"] = "outbound"


class Process(_Question):
    """The process behind the homeserver."""

    what: Literal["process"] = "process"
    pid: Pid


class Health(_Question):
    """Every agent's answer to its token, and to none."""

    what: Literal["health"] = "health"


class Stopped(_Question):
    """Whether these agents' processes are gone, and their ports closed."""

    what: Literal["stopped"] = "stopped"
    pids: dict[str, Pid]


class Processes(_Question):
    """Resident memory of processes by their names."""

    what: Literal["processes"] = "processes"
    pids: dict[str, Pid]


class Program(_Question):
    """Which program answers: its version, and the digest of each of its files."""

    what: Literal["program"] = "program"


class Schema(_Question):
    """The store's schema revision and integrity."""

    what: Literal["schema"] = "schema"


class Chain(_Question):
    """The audit log's chain, verified row by row."""

    what: Literal["chain"] = "chain"


class AuditCount(_Question):
    """How many rows the audit log has."""

    what: Literal["audit-count"] = "audit-count"


class AuditOutcome(_Question):
    """The outcome of the last audit row of a trace."""

    what: Literal["audit-outcome"] = "audit-outcome"
    trace: Annotated[str, Field(max_length=64)]


class AuditRow(_Question):
    """The digest of one audit row: the log's head when it was the last."""

    what: Literal["audit-row"] = "audit-row"
    sequence: Annotated[int, Field(ge=1)]


class Secrets(_Question):
    """Where any of these values is that it should not be; the agents' own tokens are added."""

    what: Literal["secrets"] = "secrets"
    values: tuple[SecretStr, ...] = Field(max_length=256)


Stored = Schema | Chain | AuditCount | AuditOutcome | AuditRow
Question = Annotated[
    Outbound | Process | Health | Stopped | Processes | Secrets | Program | Stored,
    Field(discriminator="what"),
]


class Questions(_Question):
    """What is asked in one call."""

    questions: Annotated[tuple[Question, ...], Field(min_length=1, max_length=MAX_QUESTIONS)]


class Answer(BaseModel):
    """One answer: evidence, or why there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evidence: dict[str, object] | None = None
    error: str | None = None


class Answers(BaseModel):
    """One answer to each question, in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: tuple[Answer, ...]
