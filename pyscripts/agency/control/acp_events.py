"""Reader of an agent's events: server-sent events with bounds on size and silence.

Source: HTML Living Standard, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import aiohttp

from agency.control.acp_transport import (
    AcpError,
    AcpRefusedError,
    Request,
    all_headers,
    check_name,
    failure,
    parsed,
)
from agency.protocols import AgentEvent

_SILENCE_S = 45.0  # the agent sends a heartbeat every 15 s
_CONNECT_S = 5.0
_MAX_EVENT = 16 * 1024
_DATA = b"data: "


async def follow(
    session: aiohttp.ClientSession, request: Request, *, silence_s: float = _SILENCE_S
) -> AsyncGenerator[AgentEvent, None]:
    """Yield the agent's events until it ends the stream.

    Raises:
        AcpUnreachableError: it does not answer, or was silent for too long.
        AcpError: it refuses, or the stream is not ACP.
    """
    where = request.where
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=silence_s)
    try:
        async with session.get(
            where, headers=all_headers(request), allow_redirects=False, timeout=timeout
        ) as answer:
            if answer.status != 200 or answer.content_type != "text/event-stream":
                raise AcpRefusedError(
                    f"HTTP status {answer.status}: no stream of events",
                    status=answer.status,
                    where=where,
                )
            buffer = b""
            async for chunk in answer.content.iter_any():
                *blocks, buffer = (buffer + chunk).split(b"\n\n")
                for block in blocks:
                    if (event := _event(request, block)) is not None:
                        yield event
                if len(buffer) > _MAX_EVENT:
                    raise AcpError("an event is too long", where=where)
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:
        raise failure(error, where, silence_s) from None


def _event(request: Request, block: bytes) -> AgentEvent | None:
    """Read one block; a heartbeat is None."""
    if len(block) > _MAX_EVENT:
        raise AcpError("an event is too long", where=request.where)
    data = [line[len(_DATA) :] for line in block.split(b"\n") if line.startswith(_DATA)]
    if not data:
        return None
    event = parsed(request.where, AgentEvent, b"\n".join(data))
    check_name(request, event.agent)
    return event
