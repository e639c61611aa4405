"""Tools behind the agent's gateway: MCP over streamable HTTP, of which two requests are enough.

    tools/list, tools/call ── POST /mcp ──▶ gateway ── JSON, or events up to the answer ──▶

Each is an exchange of its own, as the gateway keeps no session: a program goes on after the gateway
was restarted. The official SDK is on the other side; here it would cost each program 17 MiB.

Source: Model Context Protocol, revision 2025-06-18, "Transports" and "Tools".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import hdrs

from agency.agent.models.faults import ModelError, one_line
from agency.agent.models.sse import SseDecoder
from agency.agent.programs.tools import MAX_TOOLS, Outcome, Tool
from agency.errors import PrerequisiteError
from agency.secrets import SecretValue

MAX_ANSWER = 32 * 1024 * 1024
_LIST_S, _CONNECT_S = 30.0, 10.0
_MAX_PAGES = 20
_EVENTS = "text/event-stream"
_HINT = "see the journal of the agent's gateway"
_LOST = "the gateway was lost in mid-call: the call may have happened or not; look before another"
_UNCALLED = "the gateway cannot be reached: nothing was called"


class GatewayLostError(PrerequisiteError):
    """Gateway that cannot be reached, or was lost in mid-call."""


class GatewayAwayError(GatewayLostError):
    """Gateway that took nothing: it is not there, or knows this token no more."""


class _NotTakenError(Exception):
    """Request that the gateway did not take."""


class _BrokenError(Exception):
    """Exchange that broke off after the request was sent, or whose answer is none."""


class _RefusedError(Exception):
    """Error of the gateway as the answer to a request."""


class GatewayTools:
    """Tools at a gateway's address; with `socket`, the URL names the host alone.

    A call waits as long as people are asked for it: whoever calls bounds it.
    """

    def __init__(self, url: str, token: SecretValue, socket: Path | None = None) -> None:
        self._url = url
        self._token = token
        self._socket = socket

    async def list(self) -> tuple[Tool, ...]:
        """Return the tools that policy lets the agent see.

        Raises:
            GatewayAwayError: the gateway is away. GatewayLostError: it does not answer as one.
        """
        tools: list[Tool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(_LIST_S):
                for _ in range(_MAX_PAGES):
                    asked = {} if cursor is None else {"cursor": cursor}
                    page = await self._ask("tools/list", asked)
                    tools += map(_tool, page["tools"])
                    cursor = page.get("nextCursor")
                    if cursor is None or len(tools) >= MAX_TOOLS:
                        break
        except _NotTakenError as error:
            raise GatewayAwayError("the tools cannot be listed", hint=_HINT) from error
        except (_BrokenError, _RefusedError, TimeoutError, LookupError) as error:
            raise GatewayLostError("the tools cannot be listed", hint=_HINT) from error
        return tuple(tools[:MAX_TOOLS])

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool by its own name.

        Raises:
            GatewayAwayError: nothing was called. GatewayLostError: nobody knows.
        """
        try:
            asked = {"name": name, "arguments": dict(arguments)}
            result = await self._ask("tools/call", asked)
            text = "\n".join(map(_text, result["content"]))
        except _RefusedError as error:
            return Outcome(f"the gateway refuses the call: {one_line(error)}", failed=True)
        except _NotTakenError as error:
            raise GatewayAwayError(_UNCALLED, hint=_HINT) from error
        except (_BrokenError, LookupError) as error:
            raise GatewayLostError(_LOST, hint=_HINT) from error
        return Outcome(text, failed=bool(result.get("isError")))

    async def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make one request; return its result.

        Raises:
            _NotTakenError, _BrokenError, _RefusedError: there is none.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {
            hdrs.AUTHORIZATION: f"Bearer {self._token.reveal()}",
            hdrs.ACCEPT: f"application/json, {_EVENTS}",
        }
        try:
            async with (
                self._session() as session,
                session.post(
                    self._url, json=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    told = f"HTTP {response.status}"
                    taken = response.status >= 500 and response.status != 503
                    raise _BrokenError(told) if taken else _NotTakenError(told)
                answer = await _answer(response)
        except aiohttp.ClientConnectorError as error:
            raise _NotTakenError("no connection") from error
        except (aiohttp.ClientError, OSError, ModelError, ValueError) as error:
            raise _BrokenError(type(error).__name__) from error
        if "error" in answer:
            raise _RefusedError(str(_message(answer["error"])))
        result = answer.get("result")
        if not isinstance(result, dict):
            raise _BrokenError("no result")
        return result

    def _session(self) -> aiohttp.ClientSession:
        connector = None if self._socket is None else aiohttp.UnixConnector(str(self._socket))
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Read the answer to the one request; what comes before it is for others.

    Raises:
        ValueError, ModelError: there is none.
    """
    decoder, body = SseDecoder(MAX_ANSWER), bytearray()
    events = response.content_type == _EVENTS
    async for chunk in response.content.iter_any():
        if events:
            for event in decoder.feed(chunk):
                if (found := _answers(event.data)) is not None:
                    return found
            continue
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ValueError("the answer is too long")
    found = None if events else _answers(bytes(body))
    if found is None:
        raise ValueError("there is no answer")
    return found


def _answers(text: str | bytes) -> dict[str, Any] | None:
    told = json.loads(text)
    return told if isinstance(told, dict) and told.get("id") == 1 and "method" not in told else None


def _message(error: object) -> object:
    return error.get("message", "") if isinstance(error, dict) else error


def _tool(told: Mapping[str, Any]) -> Tool:
    return Tool(str(told["name"]), str(told.get("description") or ""), told["inputSchema"])


def _text(block: Mapping[str, Any]) -> str:
    """Write a part of a result as text; what is no text is only named."""
    if block.get("type") == "text":
        return str(block["text"])
    return f"[{str(block.get('type'))[:32]}, which the builtin program does not read]"
