"""Commands over the control plane's unix socket: one request, progress lines, one result line.

Each line is a JSON object. The client makes the id of a request; the same id again does not run the
command again, but waits for its answer. The service takes the sender from the kernel; it is never
part of a request.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

COMMAND_SOCKET = "command.sock"
COMMAND_VERSION = 1
MAX_ATTACHED = 48 * 1024  # characters of a document that goes with a command
MAX_REQUEST = 512 * 1024  # bytes of a request, its newline included
MAX_VALUE = 16 * 1024  # characters of the value of a secret
MAX_ANSWER = 1024 * 1024  # bytes of one line of the answer
MAX_WAIT_S = 600.0


class CommandOutcome(StrEnum):
    """End of a request. Only `unfinished` and `busy` may be followed by another one."""

    DONE = "done"
    REFUSED = "refused"  # by the policy, the handler, a full queue or a used id; or withdrawn
    FAILED = "failed"
    EXPIRED = "expired"  # its deadline passed before it began
    UNFINISHED = "unfinished"  # no answer within the time to wait; the command goes on
    NOT_UNDERSTOOD = "not-understood"  # no request, or its text is no command
    DENIED = "denied"  # this user may not command
    UNSUPPORTED = "unsupported"  # another version of this protocol
    BUSY = "busy"  # too many requests at once


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CommandRequest(_Line):
    """Request: a command as it is said in the control room, with its prefix.

    `value` is the value of a secret that the command asks for. It is no part of the command: what
    is kept and shown of a command does not have it.
    """

    version: Literal[1] = 1
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    command: str = Field(max_length=16_000)
    sent_ts: int = Field(ge=0, lt=2**53, description="milliseconds since the epoch")
    document: str = Field(default="", max_length=MAX_ATTACHED, description="handed in with it")
    wait_s: float = Field(gt=0, le=MAX_WAIT_S, description="how long the answer is waited for")
    value: SecretStr | None = Field(default=None, max_length=MAX_VALUE)

    def line(self) -> bytes:
        """Return the request as it is sent, with the value."""
        # An older control plane knows no document.
        without = {"value"} if self.document else {"value", "document"}
        said = self.model_dump(exclude=without, mode="json")
        value = {} if self.value is None else {"value": self.value.get_secret_value()}
        return json.dumps({**said, **value}, ensure_ascii=False).encode() + b"\n"


class CommandProgress(_Line):
    """Report of a command that goes on."""

    kind: Literal["progress"] = "progress"
    text: str


class CommandResult(_Line):
    """Last line: how the request ended. `said` is the command as it was understood."""

    kind: Literal["result"] = "result"
    outcome: CommandOutcome
    text: str
    block: str = ""
    said: str = ""
    operation: str = ""
    trace: str = ""


class CommandLine(_Line):
    """One line of the answer."""

    said: CommandProgress | CommandResult = Field(discriminator="kind")
