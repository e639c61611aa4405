"""Interface of a wire format, and the reading of JSON that a stranger wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from agency.agent.models.conversation import Answer, ModelRequest, ToolCall, Usage
from agency.agent.models.faults import (
    MalformedAnswerError,
    ModelFailedError,
    OversizedAnswerError,
    one_line,
)
from agency.agent.models.sse import SseEvent
from agency.canonical import depth_of
from agency.characters import whole_escapes

MAX_TEXT = 4 * 1024 * 1024  # characters of an answer's text
MAX_ARGUMENTS = 256 * 1024  # characters of one call's arguments
MAX_CALLS = 64
MAX_DEPTH = 100  # of a call's arguments; what reads and writes them is recursive
MAX_TOKENS = 2**40

# Both providers take names of this form; theirs for calls are longer.
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_CALL_ID = re.compile(r"[\x21-\x7e]{1,256}\Z")


class Assembly(Protocol):
    """Answer under construction, from the events of a stream."""

    @property
    def ended(self) -> bool:
        """Tell whether the stream said that the answer is complete."""

    def take(self, event: SseEvent) -> str:
        """Take one event; return the text that it adds."""

    def answer(self) -> Answer:
        """Return the answer; raises CutAnswerError before its end."""


class Codec(Protocol):
    """One wire format."""

    path: str

    def headers(self, token: str) -> dict[str, str]:
        """Make the headers that authenticate a call."""

    def encode(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """Write a request."""

    def decode(self, body: bytes) -> Answer:
        """Read an answer that came whole."""

    def assembly(self) -> Assembly:
        """Begin to read an answer that comes as a stream."""

    def fault(self, body: bytes) -> str:
        """Return the server's own words in the body of an error, or an empty text."""


def read_object(text: bytes | str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        MalformedAnswerError: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("the answer is not JSON") from None
    if not isinstance(found, dict):
        raise MalformedAnswerError("the answer is not a JSON object")
    return found


def items(found: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects; none where the key is missing or null."""
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise MalformedAnswerError(f"{key} is not a list of objects")
    return value


def part(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an object; an empty one where the key is missing or null."""
    value = found.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedAnswerError(f"{key} is not an object")
    return value


def text(found: Mapping[str, Any], key: str) -> str:
    """Return a text; an empty one where the key is missing or null."""
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedAnswerError(f"{key} is not a text")
    return value


def count(found: Mapping[str, Any], key: str) -> int | None:
    """Return a number of tokens; None where there is none that makes sense."""
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        return None
    return value


def index(found: Mapping[str, Any], default: int | None = None) -> int:
    """Return the place of a part in the answer."""
    value = found.get("index", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10 * MAX_CALLS:
        raise MalformedAnswerError("index is not a small number")
    return value


def bounded(size: int, most: int, what: str) -> None:
    """Refuse what is larger than its bound."""
    if size > most:
        raise OversizedAnswerError(f"{what} of the answer is longer than {most} characters")


def not_deep(arguments: object) -> None:
    """Refuse arguments that are nested too deep to be written again."""
    if depth_of(arguments, MAX_DEPTH) > MAX_DEPTH:
        raise OversizedAnswerError(f"a call's arguments are nested deeper than {MAX_DEPTH}")


def finished_calls(calls: list[ToolCall]) -> tuple[ToolCall, ...]:
    """Check that each call has an id of its own, a name, and an object as arguments.

    Halves of characters in the arguments are joined, or replaced.

    Raises:
        MalformedAnswerError, OversizedAnswerError
    """
    if len(calls) > MAX_CALLS:
        raise OversizedAnswerError(f"the answer has more than {MAX_CALLS} calls")
    if len({call.id for call in calls}) != len(calls):
        raise MalformedAnswerError("two calls have one id")
    return tuple(_finished(call) for call in calls)


def _finished(call: ToolCall) -> ToolCall:
    bounded(len(call.arguments), MAX_ARGUMENTS, "a call's arguments")
    if not _CALL_ID.match(call.id):
        raise MalformedAnswerError("a call has no id that can be used")
    if not TOOL_NAME.match(call.name):
        raise MalformedAnswerError("a call names no tool: its name is not well-formed")
    # A tool without arguments is called with an empty text by both formats' streams.
    arguments = whole_escapes(call.arguments.strip() or "{}")
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MalformedAnswerError(f"the arguments for {call.name} are not a JSON object")
    not_deep(found)
    return ToolCall(call.id, call.name, arguments)


def refuse_error(found: Mapping[str, Any]) -> None:
    """Raise ModelFailedError for an error that a stream holds."""
    if found.get("error") is not None:
        raise ModelFailedError(fault_in(found) or "the server ended the answer with an error")


def fault_in(found: Mapping[str, Any]) -> str:
    """Return the server's words in an error object of either format."""
    error = found.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return one_line(said) if isinstance(said, str) else ""


def fault_of(body: bytes) -> str:
    """Return the server's words in the body of an error; empty where it has none."""
    try:
        return fault_in(read_object(body))
    except MalformedAnswerError:
        return ""


def total(*counts: int | None) -> int | None:
    """Add counts, where the first is known."""
    return None if counts[0] is None else sum(each or 0 for each in counts)


def merged(old: Usage, new: Usage) -> Usage:
    """Return the newest known counts: those of a stream are cumulative."""
    return Usage(
        old.input if new.input is None else new.input,
        old.output if new.output is None else new.output,
        new.cache_read or old.cache_read,
        new.cache_write or old.cache_write,
    )
