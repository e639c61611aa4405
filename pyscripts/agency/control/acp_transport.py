"""Transport of ACP: one bounded HTTP exchange with an agent, and the errors of it.

No redirect is followed, no proxy of the environment used, no cookie kept; an answer has a bound on
size and time. Nothing that an agent says is repeated with a secret in it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from aiohttp import hdrs
from pydantic import BaseModel, ValidationError

from agency.canonical import once_each
from agency.control.runtimes.base import Endpoint
from agency.errors import AgencyError, InternalError
from agency.protocols import MAX_BODY, TRACE_HEADER, Problem, ProblemCode, is_trace
from agency.secrets import Redactor, SecretValue

_log = logging.getLogger(__name__)

NOT_AN_AGENT = (
    "another program may listen on this port; give the agent another port in instance.yaml"
)
_MAX_REASON = 200
Message = TypeVar("Message", bound=BaseModel)


class AcpError(AgencyError):
    """Error of an agent whose answer breaks ACP; `where` is the requested URL."""


class AcpUnreachableError(AcpError):
    """Error of an agent that does not listen or does not answer in time; it may do so later."""


class AcpRefusedError(AcpError):
    """Refusal by the agent: HTTP's status, the problem's code, and what failed, by name."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: ProblemCode | None = None,
        failed: tuple[str, ...] = (),
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.code = code
        self.failed = failed


class AcpLieError(AcpError):
    """Answer of an agent that contradicts what the control plane knows, such as a hash."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: where to, with what; `secrets` are left out of every error."""

    endpoint: Endpoint
    method: str
    path: str
    trace: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def where(self) -> str:
        """The requested URL."""
        return self.endpoint.url + self.path

    def printable(self, text: str) -> str:
        """Make a text of the agent fit for an error: short, printable, without secrets."""
        known = (self.endpoint.token, *self.secrets)
        shown = Redactor(SecretValue(each) for each in known if each).redact(text)
        return "".join(c for c in shown if c.isprintable())[:_MAX_REASON]


class Transport:
    """HTTP session for ACP; it closes only a session that it made itself."""

    def __init__(self, session: aiohttp.ClientSession | None, timeout_s: float) -> None:
        if session is not None and session.trust_env:
            raise InternalError("an ACP session must not take proxies from the environment")
        self._session = session
        self._owned = session is None
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Close the session, unless the caller passed it in."""
        if self._owned and self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self, request: Request, kind: type[Message], *, good: int = 200, left_s: float | None = None
    ) -> Message:
        """Send one request and read its answer; `left_s` shortens the wait for it.

        Raises:
            AcpUnreachableError: the agent does not answer in time.
            AcpRefusedError: it refuses.
            AcpError: the answer is not ACP, or another agent answers.
        """
        wait_s = self._timeout_s if left_s is None else min(self._timeout_s, max(left_s, 0.001))
        status, body = await self._fetch(request, wait_s)
        if status != good:
            raise _refused(request, status, body)
        answer = parsed(request.where, kind, body)
        check_name(request, getattr(answer, "agent", None))
        return answer

    @asynccontextmanager
    async def session(self, endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientSession]:
        """Give the session for an endpoint: the common one, or a new one for its Unix socket.

        Behind a socket an agent has few lines; one that is kept would be missing for others.
        """
        if endpoint.socket is not None:
            async with _new_session(aiohttp.UnixConnector(endpoint.socket)) as session:
                yield session
            return
        if self._session is None:
            self._session = _new_session(None)
        yield self._session

    async def _fetch(self, request: Request, wait_s: float) -> tuple[int, bytes]:
        where, begun = request.where, asyncio.get_running_loop().time()
        try:
            async with (
                self.session(request.endpoint) as session,
                session.request(
                    request.method,
                    where,
                    headers=all_headers(request),
                    data=request.body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=wait_s),
                ) as answer,
            ):
                if answer.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
                    raise AcpError(
                        "the answer is compressed, although the request forbids it", where=where
                    )
                body = await _bounded(answer, where)
                _told(request, begun, answer.status)
                return answer.status, body
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            _told(request, begun, None)
            raise failure(error, where, wait_s) from (
                error if isinstance(error, TimeoutError | aiohttp.ClientConnectionError) else None
            )


def _new_session(connector: aiohttp.BaseConnector | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    )


def _told(request: Request, begun: float, status: int | None) -> None:
    """Log a call, without its headers and bodies; without a status there was no answer."""
    took_ms = round((asyncio.get_running_loop().time() - begun) * 1000)
    about: dict[str, object] = {"trace": request.trace, "method": request.method}
    about |= {"url": request.where, "status": status, "ms": took_ms}
    _log.debug("called an agent", extra={"fields": about})


def all_headers(request: Request) -> dict[str, str]:
    """Make the headers of a request.

    Raises:
        InternalError: the trace id is malformed.
    """
    if not is_trace(request.trace):
        raise InternalError(f"malformed trace id {request.trace[:80]!r}", where=request.where)
    return {
        hdrs.AUTHORIZATION: f"Bearer {request.endpoint.token}",
        hdrs.ACCEPT_ENCODING: "identity",
        TRACE_HEADER: request.trace,
        **request.headers,
    }


def failure(error: Exception, where: str, wait_s: float) -> AcpError:
    """Make the error for an exchange that failed; only its type is told, never its text.

    The text may repeat bytes of the answer, or of a header.
    """
    if isinstance(error, TimeoutError):
        return AcpUnreachableError(
            f"no answer within {wait_s:g} s",
            where=where,
            hint="the agent hangs or the machine is overloaded; look at its log",
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return AcpUnreachableError("the answer broke off", where=where, hint="look at its log")
    if isinstance(error, aiohttp.ClientConnectionError):
        return AcpUnreachableError(
            f"no answer: {_cause(error)}",
            where=where,
            hint="the agent does not listen; look at its status and its log",
        )
    return AcpError(f"not an HTTP answer: {type(error).__name__}", where=where, hint=NOT_AN_AGENT)


def check_name(request: Request, agent: str | None) -> None:
    """Refuse an answer of another agent.

    Raises:
        AcpError: the agent that answers is not the one asked.
    """
    wanted = request.endpoint.agent
    if wanted is not None and agent != wanted:
        raise AcpError(
            f"the agent that answers is {str(agent)[:40]!r}, not {wanted!r}",
            where=request.where,
            hint="two agents share a port; give each its own in instance.yaml",
        )


def parsed(where: str, kind: type[Message], body: bytes) -> Message:
    """Read an answer.

    Raises:
        AcpError: it is not the message it should be.
    """
    try:
        return kind.model_validate(json.loads(body, object_pairs_hook=once_each))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:_MAX_REASON]
        reason = f"{field}: {first['type']}" if field else first["type"]
    except (ValueError, RecursionError):  # neither UTF-8 nor JSON, a key twice, or too deep
        reason = "json_invalid"
    raise AcpError(f"malformed {kind.__name__}: {reason}", where=where, hint=NOT_AN_AGENT)


async def _bounded(answer: aiohttp.ClientResponse, where: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise AcpError(f"the answer is longer than {MAX_BODY} bytes", where=where)
    return bytes(body)


def _refused(request: Request, status: int, body: bytes) -> AcpError:
    where = request.where
    if status == 401:
        return AcpRefusedError(
            "the agent does not accept the control plane's token (401)",
            status=status,
            where=where,
            hint="restart the agent: a start gives it a fresh token",
        )
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        text = f"HTTP status {status}: no reason given"
        return AcpRefusedError(text, status=status, where=where, hint=NOT_AN_AGENT)
    return AcpRefusedError(
        f"HTTP status {status}: {request.printable(problem.error)}",
        status=status,
        code=problem.code,
        failed=problem.failed,
        where=where,
        hint=NOT_AN_AGENT if problem.code is None else None,
    )


def _cause(error: aiohttp.ClientConnectionError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error).__name__
    return type(error).__name__
