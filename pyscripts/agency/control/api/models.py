"""Models of requests and answers of the HTTP interface; its OpenAPI description is made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from agency.protocols import MAX_ATTACHED, MAX_VALUE

MAX_LIMIT = 200
MAX_WAIT_S = 30.0
_MAX_TEXT, _MAX_WORD, _MAX_WORDS = 16_000, 4_096, 64

Word = Annotated[str, Field(max_length=_MAX_WORD)]
Time = Annotated[str, Field(description="RFC 3339, UTC", examples=["2026-01-31T12:00:00.000Z"])]


def _whole(number: object) -> object:
    """Take 1.0 for 1, which are the same number in JSON; other values are left to be judged."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Whole = Annotated[int, Field(ge=0, lt=2**53), BeforeValidator(_whole)]


class Model(BaseModel):
    """Base of all of them: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class OperationRequest(Model):
    """A command, and the name of this request."""

    command: (
        Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]
        | Annotated[list[Word], Field(min_length=1, max_length=_MAX_WORDS)]
    ) = Field(
        description="The command of the control room: a text as it is typed there, or its words, "
        "which need no quotes. The prefix may be left out.",
        examples=[["agents", "start", "pm", "--project=new app"]],
    )
    key: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Idempotency key, made by the caller. The same again by the same person makes "
        "no second operation; with another command it is refused.",
    )
    sent_ts: Whole | None = Field(
        default=None,
        description="When it was first sent, in milliseconds since the epoch; what is too old is "
        "refused. Give it when you may send the request again after days.",
    )
    document: str = Field(
        default="",
        max_length=MAX_ATTACHED,
        description="The Gosuto of `gosuto set` or `gosuto validate`, in YAML or JSON; the command "
        "need not name its digest.",
    )
    value: SecretStr | None = Field(
        default=None,
        max_length=MAX_VALUE,
        description="The value of a secret, for `secrets set` and `secrets rotate`: kept in memory "
        "until the command has its turn, and encrypted then. It is in no log and no answer.",
    )
    wait_s: float = Field(
        default=0, ge=0, le=MAX_WAIT_S, description="How long to wait here for the end."
    )


class Report(Model):
    """A report before the answer."""

    number: int
    text: str


class Reply(Model):
    """The answer to a command; `block` is shown in fixed width."""

    ok: bool
    text: str
    block: str


class Waits(Model):
    """The approvals that an operation waits for."""

    rule: str
    quorum: int = Field(description="how many people must approve")
    approved_by: list[str]


class Operation(Model):
    """One command on its way, or at its end."""

    id: str
    state: Literal[
        "proposed", "waiting", "granted", "running", "done",
        "failed", "refused", "expired", "withdrawn",
    ]  # fmt: skip
    final: bool
    command: str = Field(description="its canonical text")
    action: str
    target: str
    actor: str
    origin: Literal["matrix", "cli", "http", "reconcile"]
    digest: str = Field(description="SHA-256 of all that an approval covers")
    trace: str
    created: Time
    deadline: Time
    waits: Waits | None = Field(description="of an operation that waits for an approval")
    reports: list[Report]
    reply: Reply | None = Field(
        description="once it has ended; one that came from a room is answered there"
    )


class Agent(Model):
    """An agent, as the last observation found it."""

    name: str
    role: str
    matrix_id: str
    wanted: str | None
    project: str | None
    observed: str | None
    observed_at: Time | None


class AgentPage(Model):
    """Some agents, by name; `next` is the `after` of the next page."""

    items: list[Agent]
    next: str | None


class OperationPage(Model):
    """Operations that wait for an approval, oldest first."""

    items: list[Operation]
    next: str | None


class AuditRow(Model):
    """One row of the audit log."""

    sequence: int
    ts: Time
    trace: str
    actor: str
    action: str
    target: str
    outcome: str
    detail: str = Field(description="JSON text, as its hash covers it")
    previous: str
    hash: str


class AuditPage(Model):
    """Some rows of the audit log; `next` is the `after` of the next page."""

    items: list[AuditRow]
    next: int | None


class Health(Model):
    """The control plane runs. `/ready` of its other listener says whether commands get through."""

    status: Literal["ok"]
    version: str


class Degraded(Model):
    """Something that is wrong now."""

    code: str
    subject: str
    text: str
    hint: str
    since: Time
    blocks: bool = Field(description="commands of the room do not get through")


class RecentError(Model):
    """A command that failed; its trace leads to all that is on record of it."""

    time: Time
    action: str
    target: str
    trace: str


class Status(Model):
    """The control plane and its agents at a glance."""

    version: str
    uptime_s: float
    agents: dict[str, int] = Field(description="number of agents by state")
    waiting_for_approval: int
    safe_mode: bool
    degraded: list[Degraded]
    recent_errors: list[RecentError] = Field(description="of the last day, the newest first")


class Who(Model):
    """Whose token this is."""

    person: str
    role: str = Field(description="the most that the token gives")
    token: str = Field(description="its id")
    expires: Time


class Problem(Model):
    """Refusal of a request, by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace: str | None = None
    where: str | None = Field(default=None, description="the place in the command, with carets")


class NamePage(Model):
    """Query of a page that is ordered by name."""

    after: str = Field(default="", max_length=255, description="the last one of the page before")
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)


class RowPage(Model):
    """Query of a page of the audit log."""

    after: int = Field(default=0, ge=0, lt=2**53, description="the number of the row before")
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)


class RowsAfter(Model):
    """Query of an export."""

    after: int = Field(default=0, ge=0, lt=2**53, description="the number of the row before")


class Nothing(Model):
    """Query of a page that takes none."""
