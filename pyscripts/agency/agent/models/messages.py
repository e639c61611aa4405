"""Codec of Anthropic's messages: `POST /v1/messages`.

Source: the Anthropic API reference, "Create a Message" and "Streaming messages" (2023-06-01).
Kinds of events and blocks that are not known are passed over, as that page asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.models import codec
from agency.agent.models.conversation import (
    Answer,
    AssistantMessage,
    Message,
    ModelRequest,
    StopReason,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
)
from agency.agent.models.faults import CutAnswerError, MalformedAnswerError, ModelFailedError
from agency.agent.models.sse import SseEvent
from agency.characters import whole_characters

VERSION = "2023-06-01"
_STOPS: Mapping[str, StopReason] = {
    "end_turn": StopReason.DONE,
    "stop_sequence": StopReason.DONE,
    "pause_turn": StopReason.DONE,
    "tool_use": StopReason.TOOLS,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "refusal": StopReason.REFUSED,
}


class Messages:
    """The codec; see the module."""

    path = "/v1/messages"

    def headers(self, token: str) -> dict[str, str]:
        """Make the headers that authenticate a call."""
        return {"X-Api-Key": token, "Anthropic-Version": VERSION}

    def encode(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """Write a request."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": _turns(request.messages),
            "max_tokens": request.max_tokens,
        }
        if request.system:
            body["system"] = request.system
        if request.tools:
            body["tools"] = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": dict(tool.schema),
                }
                for tool in request.tools
            ]
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if stream:
            body["stream"] = True
        return body

    def decode(self, body: bytes) -> Answer:
        """Read an answer that came whole."""
        found = codec.read_object(body)
        codec.refuse_error(found)
        if "content" not in found:
            raise MalformedAnswerError("the answer has no content")
        said: list[str] = []
        calls: list[ToolCall] = []
        for block in codec.items(found, "content"):
            if block.get("type") == "text":
                said.append(codec.text(block, "text"))
            elif block.get("type") == "tool_use":
                calls.append(_call(block))
        text = whole_characters("".join(said))
        codec.bounded(len(text), codec.MAX_TEXT, "the text")
        stop = _stop(codec.text(found, "stop_reason"))
        return Answer(text, stop, codec.finished_calls(calls), usage_in(found) or Usage())

    def assembly(self) -> codec.Assembly:
        """Begin to read a stream."""
        return _Assembly()

    def fault(self, body: bytes) -> str:
        """Return the server's own words in the body of an error."""
        return codec.fault_of(body)


def usage_in(found: Mapping[str, Any]) -> Usage | None:
    """Read the usage of an answer or event; None where it has none."""
    usage = found.get("usage")
    if not isinstance(usage, dict):
        return None
    read = codec.count(usage, "cache_read_input_tokens")
    written = codec.count(usage, "cache_creation_input_tokens")
    plain = codec.count(usage, "input_tokens")
    return Usage(
        codec.total(plain, read, written),
        codec.count(usage, "output_tokens"),
        read or 0,
        written or 0,
    )


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Write messages; what follows one another on one side is one message of several blocks."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": role, "content": _blocks(message)})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    match message:
        case UserMessage(said):
            return [{"type": "text", "text": said}]
        case AssistantMessage(said, calls):
            return [
                *([{"type": "text", "text": said}] if said else []),
                *(
                    {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()}
                    for call in calls
                ),
            ]
        case ToolResult(call_id, said, failed):
            block: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": call_id,
                "content": said,
            }
            return [{**block, "is_error": True} if failed else block]


def _call(block: Mapping[str, Any]) -> ToolCall:
    given = block.get("input", {})
    codec.not_deep(given)
    arguments = json.dumps(given, ensure_ascii=False)
    return ToolCall(codec.text(block, "id"), codec.text(block, "name"), arguments)


def _stop(said: str) -> StopReason:
    if said not in _STOPS:
        raise MalformedAnswerError("the answer does not say why it ended")
    return _STOPS[said]


@dataclass(slots=True)
class _Block:
    kind: str
    id: str = ""
    name: str = ""
    parts: list[str] = field(default_factory=list)
    size: int = 0


class _Assembly:
    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._size = 0
        self._reason = ""
        self._usage = Usage()
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def take(self, event: SseEvent) -> str:
        found = codec.read_object(event.data)
        match found.get("type"):
            case "error":
                raise ModelFailedError(codec.fault_in(found) or "the server ended the answer")
            case "message_start":
                self._count(codec.part(found, "message"))
            case "content_block_start":
                self._begin(found)
            case "content_block_delta":
                return self._grow(found)
            case "message_delta":
                self._count(found)
                self._reason = codec.text(codec.part(found, "delta"), "stop_reason") or self._reason
            case "message_stop":
                self._ended = True
        return ""

    def _count(self, found: Mapping[str, Any]) -> None:
        self._usage = codec.merged(self._usage, usage_in(found) or Usage())

    def _begin(self, found: Mapping[str, Any]) -> None:
        block = codec.part(found, "content_block")
        made = _Block(codec.text(block, "type"), codec.text(block, "id"), codec.text(block, "name"))
        self._blocks[codec.index(found)] = made
        codec.bounded(len(self._blocks), 10 * codec.MAX_CALLS, "the list of parts")

    def _grow(self, found: Mapping[str, Any]) -> str:
        block = self._blocks.get(codec.index(found))
        if block is None:
            raise MalformedAnswerError("a part of the answer goes on that did not begin")
        delta = codec.part(found, "delta")
        kind = delta.get("type")
        added = ""
        if block.kind == "text" and kind == "text_delta":
            added = codec.text(delta, "text")
            self._size += len(added)
            codec.bounded(self._size, codec.MAX_TEXT, "the text")
            block.parts.append(added)
        elif block.kind == "tool_use" and kind == "input_json_delta":
            more = codec.text(delta, "partial_json")
            block.size += len(more)
            codec.bounded(block.size, codec.MAX_ARGUMENTS, "a call's arguments")
            block.parts.append(more)
        return added

    def answer(self) -> Answer:
        if not self._ended or not self._reason:
            raise CutAnswerError("the stream ended before the answer did")
        blocks = [block for _, block in sorted(self._blocks.items())]
        said = "".join("".join(each.parts) for each in blocks if each.kind == "text")
        calls = codec.finished_calls(
            [
                ToolCall(each.id, each.name, "".join(each.parts))
                for each in blocks
                if each.kind == "tool_use"
            ]
        )
        return Answer(whole_characters(said), _stop(self._reason), calls, self._usage)
