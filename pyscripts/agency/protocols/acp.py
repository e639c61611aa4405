"""ACP, the agent control protocol that every running agent serves to the control plane.

HTTP on loopback, `Authorization: Bearer <token>`, bodies of at most MAX_BODY bytes. The control
plane sends its trace id in TRACE_HEADER, and the agent logs it.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_BODY = 1024 * 1024
TRACE_HEADER = "X-Agency-Trace"
HEALTH_PATH = "/health"
STATUS_PATH = "/status"
TOKEN_CREDENTIAL = "acp-token"  # noqa: S105 - the credential's name, not its value

_TRACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def is_trace(text: str) -> bool:
    """Return whether `text` is a trace id: 1 to 64 of A-Z, a-z, 0-9, dot, underscore and dash."""
    return _TRACE.match(text) is not None


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Health(_Message):
    """`GET /health`: true if the agent can take work now."""

    status: Literal["ok", "starting", "failing"]
    agent: str


class Status(_Message):
    """`GET /status`: the agent's identity and activity."""

    agent: str
    role: str
    version: str
    pid: int
    project: str | None
    started_at: str = Field(description="RFC 3339, UTC")
    uptime_s: float
    trace: str | None = Field(description="trace id of the command that started this agent")


class Problem(_Message):
    """Body of every refusal."""

    error: str


class AgentConfig(_Message):
    """Configuration of an agent: a JSON file from its runtime. The token is a credential."""

    name: str
    role: str
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    project: str | None = None
    trace: str | None = None
