"""Endpoints of ACP version 1: the one table that the agent serves, and OpenAPI describes.

The agent refuses to start if a row has no handler or a handler no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from agency.protocols import acp_v1 as v1
from agency.protocols.acp import Health

V1_HEALTH_PATH = "/v1/health"

# Every endpoint may answer these, with a `Problem`.
COMMON_PROBLEMS: Mapping[int, str] = {
    400: "malformed request",
    401: "no valid bearer token",
    405: "this path does not take this method",
    408: "the body did not come in time",
    413: "the body is too long",
    431: "the headers are too many or too long",
    503: "a bound is reached, or there was no answer in time: try later, with the same key",
}
# A change may answer these too.
CHANGE_PROBLEMS: Mapping[int, str] = {
    415: "the body is not JSON",
    422: "the key was used for another path or body, or the message is not valid",
}
NOT_YET = "nothing stands behind this endpoint yet"
NO_GATEWAY = "this agent has no tool gateway"


@dataclass(frozen=True, slots=True)
class AcpEndpoint:
    """One endpoint: its method and path, and what goes in and comes out.

    `name` is the operation's id. `answer` is None for a stream of `AgentEvent`s. An endpoint with a
    `request` is a change: it needs an idempotency key.
    """

    name: str
    method: Literal["GET", "POST", "PUT"]
    path: str
    summary: str
    answer: type[BaseModel] | None
    request: type[BaseModel] | None = None
    status: int = 200
    problems: Mapping[int, str] = field(default_factory=dict)


ENDPOINTS: tuple[AcpEndpoint, ...] = (
    AcpEndpoint("health", "GET", V1_HEALTH_PATH, "Can the agent take work now?", Health),
    AcpEndpoint(
        "status",
        "GET",
        "/v1/status",
        "Tell identity, hash of the configuration, held secrets, MCP servers and running tasks.",
        v1.AgentStatus,
    ),
    AcpEndpoint(
        "applyConfig",
        "PUT",
        "/v1/config",
        "Hold a document, if its bytes have the given hash; the same again is a no-op.",
        v1.ConfigApplied,
        v1.ConfigDocument,
        problems={422: "the bytes do not have this hash, or the document is refused"},
    ),
    AcpEndpoint(
        "leaseSecrets",
        "POST",
        "/v1/secrets/lease",
        "Redeem all leases and hold exactly those secrets; if one fails, keep the old set.",
        v1.SecretsHeld,
        v1.LeaseOffer,
        problems={501: NOT_YET, 502: "a secret could not be redeemed; the old set is kept"},
    ),
    AcpEndpoint(
        "restart",
        "POST",
        "/v1/process/restart",
        "End all work in order and begin anew in the same process; the answer comes before.",
        v1.RestartAccepted,
        v1.RestartOrder,
        status=202,
    ),
    AcpEndpoint(
        "cancelTasks",
        "POST",
        "/v1/tasks/cancel",
        "Cancel one task, or every running one, and wait for the end within a bound.",
        v1.TasksCancelled,
        v1.CancelOrder,
        problems={404: "no task of this id", 409: "this task has ended"},
    ),
    AcpEndpoint(
        "listApprovals",
        "GET",
        "/v1/approvals",
        "List the tool calls that wait for a person's decision.",
        v1.PendingApprovals,
        problems={501: NO_GATEWAY},
    ),
    AcpEndpoint(
        "decideApproval",
        "POST",
        "/v1/approvals/{id}/decision",
        "Decide on one waiting tool call, bound to its digest.",
        v1.ApprovalDecided,
        v1.ApprovalDecision,
        problems={
            403: "this person is not under the policy's approvals.approvers",
            404: "no approval of this id",
            409: "it is decided already, or another call was meant",
            501: NO_GATEWAY,
        },
    ),
    AcpEndpoint(
        "callTool",
        "POST",
        "/v1/tools/call",
        "Call a tool through the agent's policy.",
        v1.ToolResult,
        v1.ToolCall,
        problems={
            403: "the policy refuses it",
            409: "a person must decide first, or nobody knows the outcome",
            501: NO_GATEWAY,
        },
    ),
    AcpEndpoint("events", "GET", "/v1/events", "Follow what happens, from now on.", None),
)


def acp_endpoint(name: str) -> AcpEndpoint:
    """Return the endpoint of an operation's id; KeyError if there is none."""
    return _BY_NAME[name]


_BY_NAME: Mapping[str, AcpEndpoint] = {each.name: each for each in ENDPOINTS}
