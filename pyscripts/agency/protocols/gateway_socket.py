"""Messages between an agent's ACP process and its tool gateway, over the gateway's control socket.

HTTP on a Unix socket, with a bearer token of its own: a program that may call tools cannot decide
on its own calls. Calls, approvals and decisions are messages of ACP; here is what only these two
say to each other. The client below opens no other connection, and follows no redirect.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from agency.errors import AgencyError, PrerequisiteError
from agency.protocols.acp import TRACE_HEADER, Line, Message, Problem, Word
from agency.protocols.acp_v1 import (
    MAX_SECRETS,
    MAX_SERVERS,
    ApprovalDecided,
    ApprovalDecision,
    ConfigDocument,
    McpServer,
    PendingApprovals,
    SecretName,
    Sha256,
    ToolCall,
    ToolResult,
)

GATEWAY_TOKEN = "gateway-token"  # noqa: S105 - the credential's name: who may call tools
GATEWAY_CONTROL_TOKEN = "gateway-control-token"  # noqa: S105 - and of who may decide and set policy
# Beside both: how the builtin program of an agent does a task of its list.
WORK_CONFIG = "work.json"
MAX_GATEWAY_BODY = 1024 * 1024
_ANSWER_S = 5.0
_CALL_S = 330.0


class GatewayServer(McpServer):
    """An MCP server as the gateway sees it; `reason` says why it is not well."""

    reason: Line = ""
    restarts: int = Field(ge=0, default=0)
    tools: int = Field(ge=0, default=0)
    list_sha256: Sha256 | None = Field(default=None, description="of the tools that it offers now")
    cut_off: bool = False


class GatewayStatus(Message):
    """`GET /v1/status`: policy, held secrets and servers of the gateway."""

    agent: Word
    incarnation: Word
    health: Literal["ok", "starting", "failing"]
    reason: Line = ""
    policy_sha256: Sha256 | None
    secrets_sha256: Sha256 | None = Field(description="of names and versions that are held")
    servers: tuple[GatewayServer, ...] = Field(max_length=MAX_SERVERS)


class GatewaySecrets(Message):
    """`PUT /v1/secrets`: the whole set of values that servers may be given, in memory only.

    `sha256` names the set by its names and versions, so that both sides know when it is the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    values: dict[SecretName, SecretStr] = Field(max_length=MAX_SECRETS)
    sha256: Sha256

    def body(self) -> bytes:
        """Return the message as it is sent, with the values."""
        told = {name: value.get_secret_value() for name, value in self.values.items()}
        plain = _PlainSecrets(values=told, sha256=self.sha256)
        return plain.model_dump_json().encode()


class _PlainSecrets(Message):
    values: dict[str, str]
    sha256: str


class ServerAcceptance(Message):
    """`POST /v1/servers/{name}/accept`: the tool list that a person has looked at."""

    list_sha256: Sha256


class GatewayRefusedError(AgencyError):
    """Refusal by the gateway, with its HTTP status and `Problem`."""

    def __init__(self, status: int, problem: Problem, where: str) -> None:
        super().__init__(problem.error, where=where)
        self.status = status
        self.problem = problem


class GatewayUnreachableError(PrerequisiteError):
    """A gateway that is not there: nothing was sent to it."""


class GatewayLostError(GatewayUnreachableError):
    """A gateway that took a request and gave no answer: it may have done what was asked."""


AnswerT = TypeVar("AnswerT", bound=BaseModel)


class GatewayClient:
    """Client of a gateway's control socket."""

    def __init__(self, socket: Path, token: str) -> None:
        self._socket = socket
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def status(self) -> GatewayStatus:
        """Ask for the gateway's state."""
        return await self._ask("GET", "/v1/status", GatewayStatus)

    async def set_policy(self, content: bytes) -> GatewayStatus:
        """Hand over the document that decides from now on."""
        body = ConfigDocument.of(content).model_dump_json().encode()
        return await self._ask("PUT", "/v1/policy", GatewayStatus, body)

    async def set_secrets(self, secrets: GatewaySecrets) -> GatewayStatus:
        """Hand over the secrets of servers."""
        return await self._ask("PUT", "/v1/secrets", GatewayStatus, secrets.body())

    async def approvals(self) -> PendingApprovals:
        """List what waits for a person."""
        return await self._ask("GET", "/v1/approvals", PendingApprovals)

    async def decide(self, approval: str, decision: ApprovalDecision) -> ApprovalDecided:
        """Decide on one approval."""
        body = decision.model_dump_json().encode()
        return await self._ask("POST", f"/v1/approvals/{approval}/decision", ApprovalDecided, body)

    async def accept(self, server: str, list_sha256: str) -> GatewayStatus:
        """Accept the tools that a server offers now."""
        body = ServerAcceptance(list_sha256=list_sha256).model_dump_json().encode()
        return await self._ask("POST", f"/v1/servers/{server}/accept", GatewayStatus, body)

    async def call(self, call: ToolCall, trace: str | None) -> ToolResult:
        """Call a tool through the policy."""
        body = call.model_dump_json().encode()
        return await self._ask("POST", "/v1/tools/call", ToolResult, body, trace, _CALL_S)

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[AnswerT],
        body: bytes | None = None,
        trace: str | None = None,
        answer_s: float = _ANSWER_S,
    ) -> AnswerT:
        """Send one request.

        Raises:
            GatewayRefusedError: it was refused.
            GatewayUnreachableError: no gateway answered in time.
        """
        if self._session is None:
            # One request a connection: a fault then says whether the request was sent.
            connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        headers = {"Content-Type": "application/json"} | ({TRACE_HEADER: trace} if trace else {})
        try:
            async with (
                asyncio.timeout(answer_s),
                self._session.request(
                    method,
                    f"http://gateway{path}",
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None),
                ) as said,
            ):
                status, content = said.status, await said.content.read(MAX_GATEWAY_BODY + 1)
                while len(content) <= MAX_GATEWAY_BODY and (
                    more := await said.content.read(MAX_GATEWAY_BODY)
                ):
                    content += more
        except aiohttp.ClientConnectorError as error:
            raise self._fault(GatewayUnreachableError, "the tool gateway is not there") from error
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise self._fault(GatewayLostError, "the tool gateway gave no answer") from error
        if len(content) > MAX_GATEWAY_BODY:
            raise self._fault(GatewayLostError, "the tool gateway's answer is too long")
        try:
            if status >= 400:
                problem = Problem.model_validate_json(content)
                raise GatewayRefusedError(status, problem, str(self._socket))
            return answer.model_validate_json(content)
        except ValidationError:
            text = "the answer is not that of a tool gateway"
            raise self._fault(GatewayLostError, text) from None

    def _fault(self, kind: type[GatewayUnreachableError], message: str) -> GatewayUnreachableError:
        return kind(
            message,
            where=str(self._socket),
            hint="start `agency agent gateway` for this agent; its log says why it ended",
        )
