"""Messages of ACP version 1: what the control plane and an agent say under `/v1/`.

Whatever an agent says is checked here before the control plane believes or shows it: an agent may
be taken over, and every text, list and number has a bound.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from agency.canonical import sha256_hex
from agency.protocols.acp import Line, Message, Moment, ProcessId, Word, milliseconds

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$"
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
MAX_DOCUMENT = 512 * 1024  # bytes of a configuration document
MAX_SECRETS = 64
MAX_SERVERS = 256
MAX_TASKS = 64
MAX_APPROVALS = 64
_MAX_DOCUMENT_BASE64 = 4 * (MAX_DOCUMENT // 3 + 1)
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_ID = re.compile(ID_PATTERN.replace("$", r"\Z"))
_KEY = re.compile(IDEMPOTENCY_PATTERN.replace("$", r"\Z"))

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


def _named_once(leases: tuple[SecretLease, ...]) -> tuple[SecretLease, ...]:
    if len({lease.name for lease in leases}) != len(leases):
        raise ValueError("a secret is named twice")
    return leases


_MATRIX_ID = r"^@[!-9;-~]{1,200}:[A-Za-z0-9.:\[\]-]{1,200}$"
# As the Gosuto names tools; `server/*` stands for the server's whole list of tools.
TOOL_PATTERN = r"^[a-z][a-z0-9-]{0,30}/(?:\*|[A-Za-z0-9_.-]{1,128})$"
ToolName = Annotated[str, StringConstraints(pattern=TOOL_PATTERN)]
MAX_SHOWN = 8 * 1024  # characters of the arguments of a call that a person decides on
MatrixId = Annotated[str, StringConstraints(pattern=_MATRIX_ID)]
EventKind = Literal[
    "config.applied", "secrets.held", "restart.asked", "task.state", "approvals.changed"
]
TaskState = Literal["running", "cancelling", "done", "failed", "cancelled"]


def is_id(text: str) -> bool:
    """Return whether `text` can be the id of a task or an approval."""
    return _ID.match(text) is not None


def is_idempotency_key(text: str) -> bool:
    """Return whether `text` is a key: 8 to 64 of A-Z, a-z, 0-9, dot, underscore and dash."""
    return _KEY.match(text) is not None


class HeldSecret(Message):
    """A secret that the agent holds: never its value."""

    name: SecretName
    version: int = Field(ge=1, lt=2**31)
    expires_at: Moment


class McpServer(Message):
    """An MCP server of the agent, and its health."""

    name: Word
    health: Literal["ok", "starting", "failing"]


class GatewayHealth(Message):
    """The agent's tool gateway; without a policy of its own it makes no call."""

    health: Literal["ok", "starting", "failing"]
    policy_sha256: Sha256 | None = Field(description="of the document that it decides by")
    reason: Line = ""


class TaskReport(Message):
    """A task of the agent, and how far it is."""

    id: Word
    name: Line
    state: TaskState
    started_at: Moment
    trace: Word | None = None


class AgentStatus(Message):
    """`GET /v1/status`: the agent's identity, configuration, secrets and work."""

    agent: Word
    role: Word
    version: Word
    pid: int = ProcessId
    incarnation: Word = Field(description="another one after each start or restart")
    project: Line | None
    started_at: Moment = Field(description="RFC 3339, UTC")
    uptime_s: float = Field(ge=0, allow_inf_nan=False)
    trace: Word | None = Field(description="trace id of the command that started this agent")
    config_sha256: Sha256 | None = Field(description="of the bytes that the agent holds")
    secrets: tuple[HeldSecret, ...] = Field(max_length=MAX_SECRETS)
    mcp_servers: tuple[McpServer, ...] = Field(max_length=MAX_SERVERS)
    gateway: GatewayHealth | None = Field(default=None, description="absent if it has none")
    tasks: tuple[TaskReport, ...] = Field(max_length=MAX_TASKS, description="those that run")


class ConfigDocument(Message):
    """`PUT /v1/config`: the agent's Gosuto document; `sha256` must be that of its bytes."""

    document: str = Field(
        max_length=_MAX_DOCUMENT_BASE64,
        pattern=_BASE64,
        json_schema_extra={"contentEncoding": "base64"},
    )
    sha256: Sha256

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Make the message that carries a document."""
        return cls(document=base64.b64encode(content).decode(), sha256=sha256_hex(content))

    @property
    def content(self) -> bytes:
        """The bytes of the document."""
        return base64.b64decode(self.document, validate=True)


class ConfigApplied(Message):
    """Hash of the bytes that the agent now holds; `changed` is false if it held them before."""

    agent: Word
    sha256: Sha256
    changed: bool


class SecretLease(Message):
    """Right to redeem one version of one secret, once, before it expires."""

    id: Word
    name: SecretName
    version: int = Field(ge=1, lt=2**31)
    token: str = Field(min_length=16, max_length=512, pattern=r"^[A-Za-z0-9._~+/=-]+$", repr=False)
    expires_at: Moment

    @property
    def expires(self) -> float:
        """The end of the lease, in seconds since the epoch."""
        return milliseconds(self.expires_at) / 1000


class LeaseOffer(Message):
    """`POST /v1/secrets/lease`: the whole set of secrets that the agent shall hold."""

    leases: Annotated[tuple[SecretLease, ...], AfterValidator(_named_once)] = Field(
        max_length=MAX_SECRETS
    )


class SecretsHeld(Message):
    """Secrets that the agent now holds: every one of the offer, and no other."""

    agent: Word
    secrets: tuple[HeldSecret, ...] = Field(max_length=MAX_SECRETS)


class RestartOrder(Message):
    """`POST /v1/process/restart`: a reason for the agent's log."""

    reason: Line = ""


class RestartAccepted(Message):
    """Answer before the restart: the incarnation that is about to end."""

    agent: Word
    incarnation: Word


class CancelOrder(Message):
    """`POST /v1/tasks/cancel`: one task, or every running one if `id` is null."""

    id: Word | None = None


class TasksCancelled(Message):
    """Tasks that were cancelled; one that is still `cancelling` had not ended in time."""

    agent: Word
    tasks: tuple[TaskReport, ...] = Field(max_length=MAX_TASKS)


class PendingApproval(Message):
    """A tool call, or a changed list of tools, that waits for a person's decision.

    `digest` is that of the exact call under the exact policy; `shown` is what a person must see:
    the arguments as JSON in ASCII, whole, with held secrets struck out, or what changed.
    """

    id: Word
    kind: Literal["call", "tools"] = "call"
    tool: ToolName
    digest: Sha256
    rule: Word | None = None
    shown: str = Field(default="", max_length=MAX_SHOWN, pattern=r"^[\x20-\x7e]*$")
    asked_at: Moment
    expires_at: Moment
    trace: Word | None = None


class PendingApprovals(Message):
    """`GET /v1/approvals`: the calls that wait."""

    agent: Word
    approvals: tuple[PendingApproval, ...] = Field(max_length=MAX_APPROVALS)


class ApprovalDecision(Message):
    """`POST /v1/approvals/{id}/decision`: bound to the digest of the exact call."""

    decision: Literal["approve", "deny"]
    digest: Sha256
    decided_by: MatrixId
    reason: Line = ""


class ApprovalDecided(Message):
    """The decision as the agent took it."""

    agent: Word
    id: Word
    decision: Literal["approve", "deny"]


class ToolCall(Message):
    """`POST /v1/tools/call`: a call that goes through the agent's policy like any other."""

    tool: ToolName
    arguments: dict[str, JsonValue] = Field(max_length=64)


class ToolResult(Message):
    """Result of a tool call."""

    agent: Word
    content: str = Field(max_length=256 * 1024)
    failed: bool


class AgentEvent(Message):
    """One event of `GET /v1/events`; `sequence` grows by one, so that a reader sees a gap."""

    agent: Word
    sequence: int = Field(ge=1, lt=2**53)
    at: Moment
    kind: EventKind
    trace: Word | None = None
    config_sha256: Sha256 | None = None
    task: TaskReport | None = None
