"""Chat completions as the scripted model speaks them: a request read, an answer written. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agency.agent.scripted.script import Step, Talk

MODEL = "scripted"
_LETTERS_PER_TOKEN = 4


def read_talk(messages: object) -> Talk:
    """Read a conversation; parts that are no text count for nothing.

    Raises:
        ValueError: these are no messages.
    """
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise ValueError("messages must be a list of objects")
    task, answered, result = "", 0, ""
    for each in messages:
        match each.get("role"):
            case "user":
                task, answered, result = _text(each.get("content")), 0, ""
            case "assistant":
                answered += 1
            case "tool":
                result = _text(each.get("content"))
    return Talk(task, answered, result)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (each.get("text") for each in content if isinstance(each, dict))
        return "\n".join(each for each in parts if isinstance(each, str))
    return ""


def offered_name(tool: str, tools: object) -> str:
    """Return the name under which `server/tool` was offered; its usual one if it was not."""
    usual = tool.replace("/", "__", 1)
    for each in tools if isinstance(tools, list) else ():
        function = each.get("function") if isinstance(each, dict) else None
        if not isinstance(function, dict):
            continue
        described = str(function.get("description", ""))
        # The builtin program writes a tool's own name before its description.
        if function.get("name") == usual or described.startswith((f"{tool}: ", f"{usual}: ")):
            return str(function.get("name"))
    return usual


def answer(step: Step, body: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Write an answer in one piece; `number` tells its calls from others'."""
    message: dict[str, Any] = {"role": "assistant", "content": step.say}
    if step.call is not None:
        function = {
            "name": offered_name(step.call, body.get("tools")),
            "arguments": json.dumps(step.arguments, ensure_ascii=False),
        }
        message["tool_calls"] = [
            {"id": f"scripted-{number}", "type": "function", "function": function}
        ]
    return {
        **_head(body, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": _reason(step)}],
        "usage": _usage(step, body),
    }


def events(step: Step, body: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """Write an answer as a stream of events: role, text or call, end, usage."""

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        told = {**_head(body, "chat.completion.chunk"), "choices": choices, **more}
        return b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"

    said = dict(answer(step, body, number)["choices"][0]["message"])
    calls = [{"index": n, **each} for n, each in enumerate(said.pop("tool_calls", []))]
    if calls:
        said["tool_calls"] = calls
    yield chunk([{"index": 0, "delta": said, "finish_reason": None}])
    yield chunk([{"index": 0, "delta": {}, "finish_reason": _reason(step)}])
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield chunk([], usage=_usage(step, body))
    yield b"data: [DONE]\n\n"


def _head(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    model = body.get("model")
    name = model if isinstance(model, str) else MODEL
    return {"id": "scripted", "object": kind, "created": 0, "model": name}


def _reason(step: Step) -> str:
    return "stop" if step.call is None else "tool_calls"


def _usage(step: Step, body: Mapping[str, Any]) -> dict[str, int]:
    """Count letters, so that budgets and metrics have something to count."""
    read = len(json.dumps(body.get("messages"), ensure_ascii=False)) // _LETTERS_PER_TOKEN
    said = len(step.say or json.dumps(step.arguments)) // _LETTERS_PER_TOKEN + 1
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}
