"""Conversation with a model, independent of the wire format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class StopReason(Enum):
    """Reason why the model ended its answer."""

    DONE = "done"
    TOOLS = "tools"  # it waits for the results of its calls
    LENGTH = "length"  # the answer reached its token limit
    REFUSED = "refused"  # a filter of the provider


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as the provider reports them; None where it reports nothing.

    `input` includes what came from a cache (`cache_read`) or went into one (`cache_write`).
    """

    input: int | None = None
    output: int | None = None
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that is offered to the model; `schema` is a JSON Schema of an object."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> dict[str, Any]:
        """Return the arguments."""
        found: dict[str, Any] = json.loads(self.arguments)
        return found


@dataclass(frozen=True, slots=True)
class UserMessage:
    """Text from the person or program that gave the task."""

    text: str


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """An earlier answer of the model."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Result of one call; `failed` tells the model that the call did not succeed."""

    call_id: str
    text: str
    failed: bool = False


Message = UserMessage | AssistantMessage | ToolResult


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of a model."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    system: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Complete answer of a model."""

    text: str
    stop: StopReason
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)

    def as_message(self) -> AssistantMessage:
        """Return the answer as a part of the conversation."""
        return AssistantMessage(self.text, self.calls)
