"""Client of ACP: asks a running agent, and changes what it holds and does.

    caller ─▶ AcpClient ─▶ retries, one idempotency key for all of them ─▶ transport ─▶ agent

A change is sent again, with its key, as long as no answer came and the time is not up: the agent
answers a repeated key from what it kept, so a thing is done once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel

from agency.clock import Clock, new_id
from agency.control.acp_events import follow
from agency.control.acp_transport import (
    AcpError,
    AcpLieError,
    AcpRefusedError,
    AcpUnreachableError,
    Request,
    Transport,
)
from agency.control.runtimes.base import Endpoint
from agency.files import write_atomically
from agency.matrix import Backoff
from agency.protocols import (
    HEALTH_PATH,
    IDEMPOTENCY_HEADER,
    STATUS_PATH,
    AgentEvent,
    AgentStatus,
    ApprovalDecided,
    ApprovalDecision,
    CancelOrder,
    ConfigApplied,
    ConfigDocument,
    Health,
    LeaseOffer,
    PendingApprovals,
    RestartAccepted,
    RestartOrder,
    SecretsHeld,
    Status,
    TasksCancelled,
    ToolCall,
    ToolResult,
    acp_endpoint,
)

__all__ = ["AcpClient", "AcpError", "AcpLieError", "AcpRefusedError", "AcpUnreachableError"]

_POLL_S = 0.02
_MAX_POLL_S = 0.1
_ATTEMPTS = 4
_DEADLINE_S = 30.0
# Its work goes on at the agent, or it could not begin: the same key gets the answer later.
_AGAIN = frozenset({503})

Message = TypeVar("Message", bound=BaseModel)


class AcpClient:
    """Client that asks agents, and tells them what to hold and do.

    It follows no redirects, uses no proxies of the environment, and refuses an answer of more than
    `acp.MAX_BODY` bytes. The caller closes a session that it passes in. `timeout_s` bounds one
    exchange, `deadline_s` a change with all its retries.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        timeout_s: float = 3.0,
        deadline_s: float = _DEADLINE_S,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        make_key: Callable[[], str] = lambda: new_id("acp"),
    ) -> None:
        self._transport = Transport(session, timeout_s)
        self._deadline_s = deadline_s
        self._backoff = backoff or Backoff(first_s=0.2, longest_s=2.0)
        self._clock = clock or Clock()
        self._make_key = make_key

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless the caller passed it in."""
        await self._transport.close()

    async def health(self, endpoint: Endpoint, trace: str) -> Health:
        """Request `GET /health`: can the agent take work now?

        Raises:
            AcpUnreachableError: the agent does not answer.
            AcpError: the agent refuses, the answer is not ACP, or another agent answers.
        """
        return await self._transport.ask(Request(endpoint, "GET", HEALTH_PATH, trace), Health)

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        """Request `GET /status`: the agent's facts and work. Raises as `health` does."""
        return await self._transport.ask(Request(endpoint, "GET", STATUS_PATH, trace), Status)

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        """Request `GET /v1/status`: also configuration and tasks. Raises as `health` does."""
        return await self._look(endpoint, "status", trace, AgentStatus)

    async def apply(
        self, endpoint: Endpoint, trace: str, document: bytes, *, key: str | None = None
    ) -> ConfigApplied:
        """Let the agent hold a configuration document; compare what it then says that it holds.

        Programs of the agent that cannot see its own files read it from the endpoint's `policy`.

        Raises:
            AcpRefusedError: the agent refuses the document.
            AcpLieError: the agent says that it holds something else.
            AcpError: as `health` does.
        """
        sent = ConfigDocument.of(document)
        applied = await self._change(endpoint, "applyConfig", trace, sent, ConfigApplied, key)
        _compare(endpoint, applied.sha256, sent.sha256)
        _compare(endpoint, (await self.report(endpoint, trace)).config_sha256, sent.sha256)
        if endpoint.policy is not None:
            write_atomically(endpoint.policy, document, mode=0o444)
        return applied

    async def lease(
        self, endpoint: Endpoint, trace: str, offer: LeaseOffer, *, key: str | None = None
    ) -> SecretsHeld:
        """Let the agent redeem the leases of its whole set of secrets.

        Raises:
            AcpRefusedError: a lease failed (its names are in `failed`), and the old set is kept.
            AcpLieError: the agent says that it holds another set.
            AcpError: as `health` does.
        """
        tokens = tuple(lease.token for lease in offer.leases)
        held = await self._change(
            endpoint, "leaseSecrets", trace, offer, SecretsHeld, key, secrets=tokens
        )
        wanted = {(lease.name, lease.version) for lease in offer.leases}
        if {(each.name, each.version) for each in held.secrets} != wanted:
            raise AcpLieError("the agent holds another set of secrets", where=endpoint.url)
        return held

    async def restart(
        self, endpoint: Endpoint, trace: str, reason: str = "", *, key: str | None = None
    ) -> RestartAccepted:
        """Ask the agent to begin anew; it does so after its answer. Raises as `health` does."""
        order = RestartOrder(reason=reason)
        return await self._change(endpoint, "restart", trace, order, RestartAccepted, key)

    async def cancel(
        self, endpoint: Endpoint, trace: str, task: str | None = None, *, key: str | None = None
    ) -> TasksCancelled:
        """Cancel one task of the agent, or every running one.

        Raises:
            AcpRefusedError: there is no such task (404), or it has ended (409).
            AcpError: as `health` does.
        """
        order = CancelOrder(id=task)
        return await self._change(endpoint, "cancelTasks", trace, order, TasksCancelled, key)

    async def approvals(self, endpoint: Endpoint, trace: str) -> PendingApprovals:
        """List the tool calls that wait for a decision. Raises as `health` does."""
        return await self._look(endpoint, "listApprovals", trace, PendingApprovals)

    async def decide(
        self,
        endpoint: Endpoint,
        trace: str,
        approval: str,
        decision: ApprovalDecision,
        *,
        key: str | None = None,
    ) -> ApprovalDecided:
        """Tell the agent a person's decision. Raises as `cancel` does."""
        name = "decideApproval"
        path = acp_endpoint(name).path.replace("{id}", quote(approval, safe=""))
        return await self._change(endpoint, name, trace, decision, ApprovalDecided, key, path=path)

    async def call_tool(
        self, endpoint: Endpoint, trace: str, call: ToolCall, *, key: str | None = None
    ) -> ToolResult:
        """Call a tool through the agent's policy. Raises as `health` does."""
        return await self._change(endpoint, "callTool", trace, call, ToolResult, key)

    async def events(self, endpoint: Endpoint, trace: str) -> AsyncGenerator[AgentEvent, None]:
        """Follow the agent's events from now on, until the connection ends.

        Raises:
            AcpUnreachableError: nothing came for longer than the agent's heartbeat.
            AcpError: as `health` does.
        """
        request = Request(endpoint, "GET", acp_endpoint("events").path, trace)
        async with (
            self._transport.session(endpoint) as session,
            aclosing(follow(session, request)) as events,
        ):
            async for event in events:
                yield event

    async def wait_healthy(
        self,
        endpoint: Endpoint,
        trace: str,
        timeout: float,  # noqa: ASYNC109 - the time until the agent counts as failed
        still_running: Callable[[], Awaitable[bool]],
    ) -> Health:
        """Ask until the agent answers `ok` and still runs, at most `timeout` seconds.

        Its port may be held open by its runtime: a dead agent's port then accepts and never
        answers, and an answer alone does not show that the agent lives.

        Raises:
            AcpError: the agent ended first (`still_running` returned False), was not healthy in
                time, or another program answered.
        """
        where = endpoint.url + HEALTH_PATH
        last = "no answer"
        pause = _POLL_S
        try:
            async with asyncio.timeout(timeout):
                while True:
                    asked = asyncio.ensure_future(self.health(endpoint, trace))
                    try:
                        await _while_it_runs(asked, where, still_running)
                        health = asked.result()
                        if health.status == "ok":
                            return health
                        last = f"it says {health.status!r}"
                    except AcpUnreachableError as error:
                        last = error.message
                    finally:
                        asked.cancel()
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.1, _MAX_POLL_S)
        except TimeoutError as error:
            raise AcpError(
                f"not healthy within {timeout:g} s: {last}",
                where=where,
                hint="look at the agent's log; start it again, or raise agent_start_timeout_s",
            ) from error

    async def _look(
        self, endpoint: Endpoint, name: str, trace: str, kind: type[Message]
    ) -> Message:
        row = acp_endpoint(name)
        return await self._transport.ask(Request(endpoint, row.method, row.path, trace), kind)

    async def _change(
        self,
        endpoint: Endpoint,
        name: str,
        trace: str,
        message: BaseModel,
        kind: type[Message],
        key: str | None,
        *,
        path: str | None = None,
        secrets: tuple[str, ...] = (),
    ) -> Message:
        row = acp_endpoint(name)
        headers = {
            IDEMPOTENCY_HEADER: self._make_key() if key is None else key,
            "Content-Type": "application/json",
        }
        body = message.model_dump_json().encode()
        request = Request(endpoint, row.method, path or row.path, trace, body, headers, secrets)
        return await self._retried(request, kind, row.status)

    async def _retried(self, request: Request, kind: type[Message], good: int) -> Message:
        """Send until an answer comes, with the same key; at most `deadline_s` in all."""
        end = self._clock.steady() + self._deadline_s
        attempt = 0
        while True:
            attempt += 1
            try:
                left_s = end - self._clock.steady()
                return await self._transport.ask(request, kind, good=good, left_s=left_s)
            except AcpError as error:
                pause_s = self._backoff.delay_s(attempt)
                late = self._clock.steady() + pause_s >= end
                if attempt >= _ATTEMPTS or late or not _may_pass(error):
                    raise
                await asyncio.sleep(pause_s)


def _may_pass(error: AcpError) -> bool:
    """Return whether the same request may be answered a moment later."""
    if isinstance(error, AcpRefusedError):
        return error.status in _AGAIN
    return isinstance(error, AcpUnreachableError)


def _compare(endpoint: Endpoint, said: str | None, wanted: str) -> None:
    if said != wanted:
        raise AcpLieError(
            f"the agent says that it holds {said or 'nothing'}, and was given {wanted}",
            where=endpoint.url,
            hint="stop the agent and look at its log: it does not hold what it was given",
        )


async def _while_it_runs(
    asked: asyncio.Future[Health], where: str, still_running: Callable[[], Awaitable[bool]]
) -> None:
    """Wait for the answer to a question; raise AcpError once the agent does not run."""
    while True:
        await asyncio.wait({asked}, timeout=_MAX_POLL_S)
        if not await still_running():
            raise AcpError(
                "the agent ended before it was healthy",
                where=where,
                hint="see the reason in its status, and its log",
            )
        if asked.done():
            return
