"""Scripted model in a guest: an HTTP server of chat completions that says the turns of a task.

It is no language model, and says so in each answer. Which turn is next follows from the results
that came with the request, so that a call that was not made is not passed over. For each request
it prints one line of JSON: the turn, the tools that were offered, and if the provider's key came.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted"
ANSWER = "The test passes now: add() adds. It is on a branch of its own, for you to look at."
BRANCH = "fix-add"
FIXED = "def add(left, right):\n    return left + right\n"
_MOST_BODY = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn: a call of a tool, or the answer; `needs` is in what the call before it returned."""

    tool: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    text: str = ""
    needs: str = ""


# A look, a repair, a look; a tool that is not offered, and a file that policy refuses; a branch.
SCRIPT = (
    Turn("work__test"),
    Turn("work__write", (("path", "calculator.py"), ("text", FIXED)), needs="FAILED"),
    Turn("work__test", needs="written"),
    Turn("work__push", needs="OK"),
    Turn("work__write", (("path", ".git/hooks/post-commit"), ("text", "#!/bin/sh\n"))),
    Turn("work__branch", (("slug", BRANCH), ("message", "calculator: add")), needs="policy"),
    Turn(text=ANSWER, needs=BRANCH),
)


def next_turn(messages: list[dict[str, Any]]) -> Turn:
    """Choose the turn that follows the results so far; another text where one is not as told."""
    results = [each for each in messages if each.get("role") == "tool"]
    turn = SCRIPT[min(len(results), len(SCRIPT) - 1)]
    if results and turn.needs not in json.dumps(results[-1].get("content")):
        return Turn(text=f"I stop: the result of {SCRIPT[len(results) - 1].tool} is another one.")
    return turn


def events_of(turn: Turn, number: int, model: str) -> Iterator[dict[str, Any]]:
    """Write a turn as the events of a stream."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _head(number, model, "chat.completion.chunk") | {"choices": [choice]}

    yield chunk({"role": "assistant", "content": turn.text})
    if turn.tool:
        yield chunk({"tool_calls": [{"index": 0, **_call(turn, number)}]})
    yield chunk({}, "tool_calls" if turn.tool else "stop")
    head = _head(number, model, "chat.completion.chunk")
    yield head | {"choices": [], "usage": usage_of(number)}


def whole_of(turn: Turn, number: int, model: str) -> dict[str, Any]:
    """Write a turn as one answer."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.tool:
        message["tool_calls"] = [_call(turn, number)]
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if turn.tool else "stop",
    }
    told = {"choices": [choice], "usage": usage_of(number)}
    return _head(number, model, "chat.completion") | told


def usage_of(number: int) -> dict[str, int]:
    """Tell what a call used: numbers of the script, which the proxy counts."""
    return {
        "prompt_tokens": 100 * number,
        "completion_tokens": 10,
        "total_tokens": 100 * number + 10,
    }


def _head(number: int, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"scripted-{number}", "object": kind, "created": 0, "model": model}


def _call(turn: Turn, number: int) -> dict[str, Any]:
    function = {"name": turn.tool, "arguments": json.dumps(dict(turn.arguments))}
    return {"id": f"call-{number}", "type": "function", "function": function}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if self.path != "/v1/chat/completions" or not 0 < size <= _MOST_BODY:
            self.send_error(404)
            return
        asked = json.loads(self.rfile.read(size))
        messages = asked["messages"]
        turn, number = next_turn(messages), 1 + sum(m.get("role") == "tool" for m in messages)
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        told = {
            "request": number,
            "turn": turn.tool or "answer",
            "offered": sorted(each["function"]["name"] for each in asked.get("tools") or ()),
            "keySha256": hashlib.sha256(key.encode()).hexdigest(),
        }
        print(json.dumps(told), flush=True)  # noqa: T201 - its journal is the evidence
        if asked.get("stream"):
            lines = [json.dumps(one) for one in events_of(turn, number, asked["model"])]
            text = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
            self._answer("text/event-stream", text)
        else:
            self._answer("application/json", json.dumps(whole_of(turn, number, asked["model"])))

    def _answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Scripted", "yes")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what counts is printed."""


def main() -> None:
    """Serve on a port of loopback until it is ended."""
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
