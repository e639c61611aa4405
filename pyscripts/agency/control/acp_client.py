"""Client of ACP: asks a running agent for its health and status."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from aiohttp import hdrs
from pydantic import ValidationError

from agency.canonical import once_each
from agency.control.runtimes.base import Endpoint
from agency.errors import AgencyError, InternalError
from agency.protocols import (
    HEALTH_PATH,
    MAX_BODY,
    STATUS_PATH,
    TRACE_HEADER,
    Health,
    Problem,
    Status,
    is_trace,
)

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_MAX_POLL_S = 0.1
_MAX_REASON = 200

Message = TypeVar("Message", Health, Status)


class AcpError(AgencyError):
    """Error of an agent whose answer breaks ACP; `where` is the requested URL."""


class AcpUnreachableError(AcpError):
    """Error of an agent that does not listen or does not answer in time; it may do so later."""


class AcpClient:
    """Client that asks agents for their health and status.

    It follows no redirects, uses no proxies of the environment, and refuses an answer of more than
    `acp.MAX_BODY` bytes. The caller closes a session that it passes in.
    """

    def __init__(
        self, session: aiohttp.ClientSession | None = None, *, timeout_s: float = 3.0
    ) -> None:
        if session is not None and session.trust_env:
            raise InternalError("an ACP session must not take proxies from the environment")
        self._session = session
        self._owned = session is None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

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
        if self._owned and self._session is not None:
            await self._session.close()
            self._session = None

    async def health(self, endpoint: Endpoint, trace: str) -> Health:
        """Request `GET /health`: can the agent take work now?

        Raises:
            AcpUnreachableError: the agent does not answer.
            AcpError: the agent refuses, the answer is not ACP, or another agent answers.
        """
        return await self._get(endpoint, HEALTH_PATH, trace, Health)

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        """Request `GET /status`: the agent's facts and work. Raises as `health` does."""
        return await self._get(endpoint, STATUS_PATH, trace, Status)

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

    async def _get(self, endpoint: Endpoint, path: str, trace: str, kind: type[Message]) -> Message:
        where = endpoint.url + path
        if not is_trace(trace):
            raise InternalError(f"malformed trace id {trace[:80]!r}", where=where)
        status, body = await self._fetch(where, endpoint.token, trace)
        if status != 200:
            raise _refused(where, status, body)
        answer = _parsed(where, kind, body)
        if endpoint.agent is not None and answer.agent != endpoint.agent:
            raise AcpError(
                f"the agent that answers is {answer.agent[:40]!r}, not {endpoint.agent!r}",
                where=where,
                hint="two agents share a port; give each its own in instance.yaml",
            )
        return answer

    async def _fetch(self, where: str, token: str, trace: str) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        headers = {
            hdrs.AUTHORIZATION: f"Bearer {token}",
            hdrs.ACCEPT_ENCODING: "identity",
            TRACE_HEADER: trace,
        }
        begun = asyncio.get_running_loop().time()
        try:
            async with self._session.get(
                where, headers=headers, allow_redirects=False, timeout=self._timeout
            ) as answer:
                if answer.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
                    raise AcpError(
                        "the answer is compressed, although the request forbids it", where=where
                    )
                body = await _bounded(answer, where)
                self._told(where, trace, begun, answer.status)
                return answer.status, body
        except TimeoutError as error:
            self._told(where, trace, begun, None)
            raise AcpUnreachableError(
                f"no answer within {self._timeout.total:g} s",
                where=where,
                hint="the agent hangs or the machine is overloaded; look at its log",
            ) from error
        except aiohttp.ClientConnectionError as error:
            raise AcpUnreachableError(
                f"no answer: {_cause(error)}",
                where=where,
                hint="the agent does not listen; look at its status and its log",
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            # Only the error's type: its text may repeat bytes of the answer, or of a header.
            raise AcpError(
                f"not an HTTP answer: {type(error).__name__}", where=where, hint=_NOT_AN_AGENT
            ) from None

    def _told(self, where: str, trace: str, begun: float, status: int | None) -> None:
        """Log a call; without a status there was no answer in time."""
        took_ms = round((asyncio.get_running_loop().time() - begun) * 1000)
        fields = {"trace": trace, "url": where, "status": status, "ms": took_ms}
        _log.debug("called an agent", extra={"fields": fields})


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


_NOT_AN_AGENT = (
    "another program may listen on this port; give the agent another port in instance.yaml"
)


async def _bounded(answer: aiohttp.ClientResponse, where: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise AcpError(f"the answer is longer than {MAX_BODY} bytes", where=where)
    return bytes(body)


def _refused(where: str, status: int, body: bytes) -> AcpError:
    if status == 401:
        return AcpError(
            "the agent does not accept the control plane's token (401)",
            where=where,
            hint="restart the agent: a start gives it a fresh token",
        )
    try:
        reason = Problem.model_validate_json(body).error
    except ValidationError:
        reason = "no reason given"
    printable = "".join(c for c in reason if c.isprintable())[:_MAX_REASON]
    return AcpError(f"HTTP status {status}: {printable}", where=where, hint=_NOT_AN_AGENT)


def _parsed(where: str, kind: type[Message], body: bytes) -> Message:
    try:
        return kind.model_validate(json.loads(body, object_pairs_hook=once_each))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:_MAX_REASON]
        reason = f"{field}: {first['type']}" if field else first["type"]
    except (ValueError, RecursionError):  # neither UTF-8 nor JSON, a key twice, or too deep
        reason = "json_invalid"
    raise AcpError(f"malformed {kind.__name__}: {reason}", where=where, hint=_NOT_AN_AGENT)


def _cause(error: aiohttp.ClientConnectionError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error).__name__
    return type(error).__name__
