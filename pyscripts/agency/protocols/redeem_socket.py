"""Redemption of a lease over the agent's own socket at the control plane: one line each way.

The agent proves itself by its ACP token, and the offer by the lease's token. The answer is the
value, or the reason why there is none. No message shows a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from agency.errors import BadInputError, PrerequisiteError
from agency.unix_sockets import short_path

REDEEM_SOCKET = "redeem.sock"
MAX_REDEMPTION = 4 * 1024  # bytes of a request, its newline included
MAX_REDEEMED = 128 * 1024  # bytes of an answer
_TIMEOUT_S = 10.0


class RedemptionRefusedError(BadInputError):
    """A redemption that the control plane refused."""


class RedemptionLostError(PrerequisiteError):
    """A redemption without an answer: the control plane may not run."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RedemptionRequest(_Line):
    """Request: the lease, its token, and the token that only this agent has."""

    version: Literal[1] = 1
    lease: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    token: SecretStr = Field(min_length=1, max_length=512)
    agent_token: SecretStr = Field(min_length=1, max_length=512)

    def line(self) -> bytes:
        """Return the request as it is sent."""
        said = {
            "version": self.version,
            "lease": self.lease,
            "token": self.token.get_secret_value(),
            "agent_token": self.agent_token.get_secret_value(),
        }
        return json.dumps(said).encode() + b"\n"


class RedemptionAnswer(_Line):
    """Answer: the value, or the reason why there is none."""

    value: SecretStr | None = None
    error: str = ""

    def line(self) -> bytes:
        """Return the answer as it is sent."""
        value = None if self.value is None else self.value.get_secret_value()
        return json.dumps({"value": value, "error": self.error}).encode() + b"\n"


async def redeem(
    path: Path, lease: str, token: str, agent_token: str, *, timeout_s: float = _TIMEOUT_S
) -> SecretStr:
    """Redeem a lease at the socket; return the value.

    Raises:
        RedemptionLostError: there is no answer.
        RedemptionRefusedError: it was refused.
    """
    request = RedemptionRequest(
        lease=lease, token=SecretStr(token), agent_token=SecretStr(agent_token)
    )
    try:
        async with asyncio.timeout(timeout_s):
            line = await _exchange(path, request.line())
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise RedemptionLostError(
            f"the control plane does not answer a redemption: {type(error).__name__}",
            where=str(path),
            hint="the next delivery tries again",
        ) from None
    try:
        answer = RedemptionAnswer.model_validate_json(line)
    except ValidationError:
        raise RedemptionLostError(
            "the answer to a redemption is not a control plane's", where=str(path)
        ) from None
    if answer.value is None:
        raise RedemptionRefusedError(answer.error or "refused", where=str(path))
    return answer.value


async def _exchange(path: Path, line: bytes) -> bytes:
    with short_path(path) as name:
        reader, writer = await asyncio.open_unix_connection(name, limit=MAX_REDEEMED)
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readuntil(b"\n")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
