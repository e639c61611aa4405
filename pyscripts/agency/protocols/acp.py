"""ACP, the agent control protocol that every running agent serves to the control plane.

Here is what all versions share, and the unversioned `/health` and `/status`: released evidence was
made with them, so they stay as they are. `acp_v1` has the messages under `/v1/`.

HTTP on loopback, `Authorization: Bearer <token>`, bodies of at most MAX_BODY bytes. The control
plane sends its trace id in TRACE_HEADER, and the agent logs it.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_BODY = 1024 * 1024
TRACE_HEADER = "X-Agency-Trace"
HEALTH_PATH = "/health"
STATUS_PATH = "/status"
TOKEN_CREDENTIAL = "acp-token"  # noqa: S105 - the credential's name, not its value

_TRACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def is_trace(text: str) -> bool:
    """Return whether `text` is a trace id: 1 to 64 of A-Z, a-z, 0-9, dot, underscore and dash."""
    return _TRACE.match(text) is not None


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1 or any(unicodedata.category(c) == "Cc" for c in text):
        raise ValueError("must be one line without control characters")
    return text


def _instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("must have an offset from UTC, such as Z")
    return text


def milliseconds(moment: str) -> int:
    """Return a moment of a message in milliseconds since the epoch."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


# An agent may be taken over: nothing that it says may add lines or marks to a reply.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
_LINE = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"}  # as `_one_line` says
Line = Annotated[str, Field(max_length=200, json_schema_extra=_LINE), AfterValidator(_one_line)]
# The pattern alone takes the 99th of a month, at which whoever computes with it would fail.
Moment = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9T:.+-]{6,30}Z?$"), AfterValidator(_instant)]
ProcessId = Field(ge=1, le=2**22)  # pid_max of Linux: proc(5)


class Message(BaseModel):
    """Base of every message: no unknown fields, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ProblemCode = Literal[
    "not-implemented",  # nothing stands behind this endpoint yet
    "key-missing",  # a change without an idempotency key
    "key-reused",  # the key was used for another path or body
    "hash-differs",  # the bytes do not have the hash that came with them
    "config-refused",  # the document is not one that the agent can hold
    "lease-failed",  # a secret could not be redeemed; the old set is kept
    "policy",  # the agent's policy refuses the call
    "asked",  # a person must decide first; the approval's id is in `failed`
    "outcome-unknown",  # the gateway ended while this call ran; it may have been made
    "unreachable",  # the tool gateway does not answer
    "unknown",  # no task or approval of this id
    "ended",  # it is over, so that there is nothing left to do with it
    "full",  # a bound is reached; try later
]


class Health(Message):
    """`GET /health`: true if the agent can take work now."""

    status: Literal["ok", "starting", "failing"]
    agent: Word


class Status(Message):
    """`GET /status`: the agent's identity and activity."""

    agent: Word
    role: Word
    version: Word
    pid: int = ProcessId
    project: Line | None
    started_at: Moment = Field(description="RFC 3339, UTC")
    uptime_s: float = Field(ge=0, allow_inf_nan=False)
    trace: Word | None = Field(description="trace id of the command that started this agent")


class Problem(Message):
    """Body of every refusal."""

    error: str
    code: ProblemCode | None = Field(
        None, description="for programs; absent if HTTP's status says all"
    )
    failed: tuple[Word, ...] = Field((), max_length=64, description="what failed, by name")


class AgentConfig(Message):
    """Configuration of an agent: a JSON file from its runtime. The token is a credential."""

    name: str
    role: str
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    project: str | None = None
    trace: str | None = None
    redeem_socket: str | None = None  # where it redeems its secrets
    gateway_socket: str | None = None  # the control socket of its tool gateway
