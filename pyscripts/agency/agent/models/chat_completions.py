"""Codec of OpenAI-compatible chat completions: `POST /v1/chat/completions`.

Source: the OpenAI API reference, "Create chat completion" and "The chat completion chunk object".
Servers that follow it differ in small things, so that missing and null fields count the same.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from agency.agent.models.faults import CutAnswerError, MalformedAnswerError
from agency.agent.models.sse import SseEvent
from agency.characters import whole_characters

_END = "[DONE]"
_STOPS: Mapping[str, StopReason] = {
    "stop": StopReason.DONE,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOLS,
    "function_call": StopReason.TOOLS,
    "content_filter": StopReason.REFUSED,
}


class ChatCompletions:
    """The codec; see the module."""

    path = "/v1/chat/completions"

    def headers(self, token: str) -> dict[str, str]:
        """Make the header that authenticates a call."""
        return {"Authorization": f"Bearer {token}"}

    def encode(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """Write a request."""
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [*system, *(_message(each) for each in request.messages)],
            "max_tokens": request.max_tokens,
        }
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": dict(tool.schema),
                    },
                }
                for tool in request.tools
            ]
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def decode(self, body: bytes) -> Answer:
        """Read an answer that came whole."""
        found = codec.read_object(body)
        codec.refuse_error(found)
        choices = codec.items(found, "choices")
        if not choices:
            raise MalformedAnswerError("the answer has no choices")
        message = codec.part(choices[0], "message")
        said = codec.text(message, "content")
        codec.bounded(len(said), codec.MAX_TEXT, "the text")
        calls = codec.finished_calls([_call(each) for each in codec.items(message, "tool_calls")])
        stop = _stop(codec.text(choices[0], "finish_reason"), calls)
        return Answer(whole_characters(said), stop, calls, usage_in(found) or Usage())

    def assembly(self) -> codec.Assembly:
        """Begin to read a stream."""
        return _Assembly()

    def fault(self, body: bytes) -> str:
        """Return the server's own words in the body of an error."""
        return codec.fault_of(body)


def usage_in(found: Mapping[str, Any]) -> Usage | None:
    """Read the usage of an answer or chunk; None where it has none."""
    usage = found.get("usage")
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = codec.count(details, "cached_tokens") if isinstance(details, dict) else None
    prompt, completion = (
        codec.count(usage, "prompt_tokens"),
        codec.count(usage, "completion_tokens"),
    )
    return Usage(prompt, completion, cache_read=cached or 0)


def _message(message: Message) -> dict[str, Any]:
    match message:
        case UserMessage(said):
            return {"role": "user", "content": said}
        case AssistantMessage(said, calls):
            written: dict[str, Any] = {"role": "assistant", "content": said or None}
            if calls:
                written["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for call in calls
                ]
            return written
        case ToolResult(call_id, said, failed):
            # The format has no mark for a failure.
            return {
                "role": "tool",
                "tool_call_id": call_id,
                "content": f"error: {said}" if failed else said,
            }


def _call(found: Mapping[str, Any]) -> ToolCall:
    function = codec.part(found, "function")
    return ToolCall(
        codec.text(found, "id"), codec.text(function, "name"), codec.text(function, "arguments")
    )


def _stop(said: str, calls: tuple[ToolCall, ...]) -> StopReason:
    if said not in _STOPS:
        raise MalformedAnswerError("the answer does not say why it ended")
    # Some servers say `stop` although there are calls.
    return StopReason.TOOLS if calls and _STOPS[said] is StopReason.DONE else _STOPS[said]


@dataclass(slots=True)
class _Parts:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0


class _Assembly:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._size = 0
        self._calls: dict[int, _Parts] = {}
        self._reason = ""
        self._usage = Usage()
        self._done = False

    @property
    def ended(self) -> bool:
        return self._done

    def take(self, event: SseEvent) -> str:
        if event.data.strip() == _END:
            self._done = True
            return ""
        found = codec.read_object(event.data)
        codec.refuse_error(found)
        self._usage = codec.merged(self._usage, usage_in(found) or Usage())
        added = ""
        for choice in codec.items(found, "choices")[:1]:
            delta = codec.part(choice, "delta")
            added = codec.text(delta, "content")
            for each in codec.items(delta, "tool_calls"):
                self._grow(each)
            self._reason = codec.text(choice, "finish_reason") or self._reason
        self._size += len(added)
        codec.bounded(self._size, codec.MAX_TEXT, "the text")
        self._text.append(added)
        return added

    def _grow(self, found: Mapping[str, Any]) -> None:
        parts = self._calls.setdefault(codec.index(found, max(len(self._calls) - 1, 0)), _Parts())
        codec.bounded(len(self._calls), codec.MAX_CALLS, "the list of calls")
        function = codec.part(found, "function")
        parts.id = parts.id or codec.text(found, "id")
        parts.name = parts.name or codec.text(function, "name")
        added = codec.text(function, "arguments")
        parts.size += len(added)
        codec.bounded(parts.size, codec.MAX_ARGUMENTS, "a call's arguments")
        parts.arguments.append(added)

    def answer(self) -> Answer:
        # Some servers end without the last line; the reason is the answer's own end.
        if not self._reason:
            raise CutAnswerError("the stream ended before the answer did")
        calls = codec.finished_calls(
            [
                ToolCall(each.id, each.name, "".join(each.arguments))
                for _, each in sorted(self._calls.items())
            ]
        )
        return Answer(
            whole_characters("".join(self._text)), _stop(self._reason, calls), calls, self._usage
        )
