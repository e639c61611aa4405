"""Scripted model: a real HTTP server of both wire formats that says what a list of turns says.

    script: Turn, Turn, ... ── one for each call, in order ──▶ answer whole or as a stream
    asked:  what came with each call                            or a fault

Deterministic: no clock, no randomness. A call beyond the script is answered with status 500.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aiohttp import web

from agency.agent.models.conversation import StopReason, ToolCall, Usage

Fault = Literal[
    "garbage",  # a body, or the data of an event, that is no JSON
    "not-http",  # bytes that are no HTTP
    "lost",  # the connection ends before the first byte
    "cut",  # the connection ends in mid-answer
    "endless",  # the answer goes on as long as it is read
    "silent",  # the answer begins and then stops
    "slow",  # nothing comes, until the test lets it
    "no-end",  # the last events of the stream are missing, its end is clean
    "error-event",  # an error in mid-stream
]
ENDLESS_PIECES = 200_000
_USAGE = Usage(12, 7)


@dataclass(frozen=True)
class Turn:
    """What the model says to one call; `status` other than 200 is an error with those headers."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = _USAGE
    stop: StopReason | None = None
    fault: Fault | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    piece: int = 5  # characters of one event

    @property
    def reason(self) -> StopReason:
        return self.stop or (StopReason.TOOLS if self.calls else StopReason.DONE)


def huge_arguments(size: int) -> Turn:
    """A call whose arguments are valid and very long."""
    return Turn(calls=(ToolCall("call-1", "look", json.dumps({"text": "x" * size})),), piece=65536)


def wrong_tool(name: str) -> Turn:
    return Turn(calls=(ToolCall("call-1", name, "{}"),))


@dataclass
class Asked:
    """One call: its path, headers and body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class ScriptedModel:
    """The server's state; `pieces` counts what an endless answer sent."""

    script: list[Turn]
    asked: list[Asked] = field(default_factory=list)
    pieces: int = 0
    url: str = ""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)  # a call did
    loop: asyncio.AbstractEventLoop | None = None  # where it answers

    def let(self) -> None:
        """Let what is slow be answered, from another thread."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(lambda: (self.go.set(), self.go.clear()))

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        turn, body = await self._next(request)
        return await self._answer(request, turn, body, _chat_whole, _chat_events)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        turn, body = await self._next(request)
        return await self._answer(request, turn, body, _messages_whole, _messages_events)

    async def _next(self, request: web.Request) -> tuple[Turn, dict[str, Any]]:
        body = await request.json()
        self.asked.append(Asked(request.path, dict(request.headers), body))
        self.came.set()
        self.loop = asyncio.get_running_loop()
        end = Turn(status=500, text="the script is at its end")
        return (self.script.pop(0) if self.script else end), body

    async def _answer(self, request, turn, body, whole, events) -> web.StreamResponse:
        if turn.status != 200:
            error = {"type": "error", "error": {"type": "x", "message": turn.text or "scripted"}}
            return web.json_response(error, status=turn.status, headers=turn.headers)
        if turn.fault in ("lost", "not-http"):
            assert request.transport is not None
            if turn.fault == "not-http":
                request.transport.write(b"nonsense\r\n\r\n")
            request.transport.close()
            return web.Response()
        if turn.fault == "slow":
            await self.go.wait()
        if not body.get("stream"):
            return await self._whole(request, turn, whole(turn, body["model"]))
        return await self._stream(request, turn, list(events(turn, body)))

    async def _whole(self, request: web.Request, turn: Turn, said: Any) -> web.StreamResponse:
        text = "{no json" if turn.fault == "garbage" else json.dumps(said)
        if turn.fault not in ("cut", "endless", "silent"):
            return web.Response(text=text, content_type="application/json", headers=turn.headers)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if turn.fault == "cut":
            response.content_length = len(text) + 10
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        return await self._faulty_end(request, response, turn, b" " * 65536)

    async def _stream(
        self, request: web.Request, turn: Turn, events: list[bytes]
    ) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "X-Scripted": "yes", **turn.headers}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        half = len(events) // 2
        if turn.fault == "garbage":
            await response.write(b"data: {no json\n\n")
            return response
        if turn.fault == "error-event":
            event = {"type": "error", "error": {"type": "x", "message": "overloaded"}}
            events = [*events[:half], b"event: error\ndata: %s\n\n" % json.dumps(event).encode()]
        if turn.fault == "no-end":
            events = events[:half]
        if turn.fault in ("cut", "endless", "silent"):
            for event in events[:half]:
                await response.write(event)
            return await self._faulty_end(request, response, turn, _one_piece(events))
        for event in events:
            await response.write(event)
        return response

    async def _faulty_end(
        self, request: web.Request, response: web.StreamResponse, turn: Turn, piece: bytes
    ) -> web.StreamResponse:
        if turn.fault == "silent":
            await self.go.wait()
        if turn.fault == "endless":
            with suppress(ConnectionError):
                for _ in range(ENDLESS_PIECES):
                    await response.write(piece)
                    self.pieces += 1
        if request.transport is not None:
            request.transport.abort()
        return response


def _one_piece(events: Iterable[bytes]) -> bytes:
    """The event of a stream that adds text, for one that never ends."""
    marks = (b'"delta": {"content"', b"text_delta")
    return next(each for each in events if any(mark in each for mark in marks))


def _pieces(text: str, size: int) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


_CHAT_STOPS = {
    StopReason.DONE: "stop",
    StopReason.TOOLS: "tool_calls",
    StopReason.LENGTH: "length",
    StopReason.REFUSED: "content_filter",
}
_MESSAGE_STOPS = {
    StopReason.DONE: "end_turn",
    StopReason.TOOLS: "tool_use",
    StopReason.LENGTH: "max_tokens",
    StopReason.REFUSED: "refusal",
}


def _chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": (usage.input or 0) + (usage.output or 0),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
    }


def _chat_whole(turn: Turn, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in turn.calls
        ]
    said: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": _CHAT_STOPS[turn.reason]}],
    }
    return said if turn.usage is None else {**said, "usage": _chat_usage(turn.usage)}


def _chat_events(turn: Turn, body: dict[str, Any]) -> Iterator[bytes]:
    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        said = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": body["model"],
            "choices": choices,
            **more,
        }
        return b"data: %s\n\n" % json.dumps(said, ensure_ascii=False).encode()

    def delta(reason: str | None = None, **more: Any) -> bytes:
        return chunk([{"index": 0, "delta": more, "finish_reason": reason}])

    yield delta(role="assistant", content="")
    for piece in _pieces(turn.text, turn.piece):
        yield delta(content=piece)
    for number, call in enumerate(turn.calls):
        head = {"index": number, "id": call.id, "type": "function"}
        yield delta(tool_calls=[{**head, "function": {"name": call.name, "arguments": ""}}])
        for piece in _pieces(call.arguments, turn.piece):
            yield delta(tool_calls=[{"index": number, "function": {"arguments": piece}}])
    yield delta(_CHAT_STOPS[turn.reason])
    if turn.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
        yield chunk([], usage=_chat_usage(turn.usage))
    yield b"data: [DONE]\n\n"


def _messages_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": (usage.input or 0) - usage.cache_read - usage.cache_write,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
    }


def _messages_whole(turn: Turn, model: str) -> dict[str, Any]:
    text = [{"type": "text", "text": turn.text}] if turn.text else []
    calls = [
        {"type": "tool_use", "id": c.id, "name": c.name, "input": json.loads(c.arguments)}
        for c in turn.calls
    ]
    said: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [*text, *calls],
        "stop_reason": _MESSAGE_STOPS[turn.reason],
        "stop_sequence": None,
    }
    return said if turn.usage is None else {**said, "usage": _messages_usage(turn.usage)}


def _messages_events(turn: Turn, body: dict[str, Any]) -> Iterator[bytes]:
    def event(kind: str, **more: Any) -> bytes:
        data = json.dumps({"type": kind, **more}, ensure_ascii=False).encode()
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)

    whole = _messages_whole(replace(turn, text="", calls=()), body["model"])
    if turn.usage is not None:
        whole["usage"] = {**_messages_usage(turn.usage), "output_tokens": 1}
    yield event("message_start", message={**whole, "stop_reason": None})
    yield event("ping")
    blocks: list[tuple[dict[str, Any], str, str, str]] = []
    if turn.text:
        blocks.append(({"type": "text", "text": ""}, "text_delta", "text", turn.text))
    for c in turn.calls:
        head = {"type": "tool_use", "id": c.id, "name": c.name, "input": {}}
        blocks.append((head, "input_json_delta", "partial_json", c.arguments))
    for index, (head, kind, key, text) in enumerate(blocks):
        yield event("content_block_start", index=index, content_block=head)
        for piece in _pieces(text, turn.piece):
            yield event("content_block_delta", index=index, delta={"type": kind, key: piece})
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": _MESSAGE_STOPS[turn.reason], "stop_sequence": None}
    usage = {} if turn.usage is None else {"usage": {"output_tokens": turn.usage.output}}
    yield event("message_delta", delta=delta, **usage)
    yield event("message_stop")


@asynccontextmanager
async def scripted(*turns: Turn) -> AsyncIterator[ScriptedModel]:
    """Serve a script on a free port of loopback."""
    model = ScriptedModel(list(turns))
    runner = web.AppRunner(model.app(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield model
    finally:
        model.go.set()
        await runner.cleanup()
