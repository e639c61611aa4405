"""Meter of an answer: reads usage from what passes, and never fails on garbage.

A count is final when the answer has ended and said it; until then the reservation counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.models import chat_completions, messages
from agency.agent.models.client import WireFormat
from agency.agent.models.codec import merged
from agency.agent.models.conversation import Usage
from agency.agent.models.sse import SseEvent
from agency.agent.proxy.accounting.ledger import Reservation
from agency.agent.proxy.accounting.pricing import Amount

# Far more bytes than any run of tokens has: beyond, a provider ignores the limit that it was given.
BYTES_PER_TOKEN = 32
_SLACK = 4096
_READERS: Mapping[WireFormat, Callable[[Mapping[str, Any]], Usage | None]] = {
    "openai": chat_completions.usage_in,
    "anthropic": messages.usage_in,
}


@dataclass(slots=True)
class Meter:
    """Counts of one answer."""

    format: WireFormat
    reservation: Reservation
    usage: Usage = field(default_factory=Usage)
    ended: bool = False  # the answer said why it ended
    final: bool = False
    said: int = 0  # bytes of text, arguments and thinking

    def whole(self, body: bytes) -> None:
        """Read an answer that came whole."""
        found = _object(body)
        if found is not None:
            self._count(found)
            self.ended = True
            self.final = None not in (self.usage.input, self.usage.output)
            self.said += len(body)

    def event(self, event: SseEvent) -> dict[str, Any] | None:
        """Read one event of a stream; return its object, if it has one."""
        found = _object(event.data)
        if found is None:
            return None
        if self.format == "openai":
            self._chunk(found)
        else:
            self._message_event(found)
        return found

    def _chunk(self, found: Mapping[str, Any]) -> None:
        choices = found.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                self.said += _said(choice.get("delta"))
                self.ended = self.ended or bool(choice.get("finish_reason"))
        if self._count(found):
            self.final = self.ended and None not in (self.usage.input, self.usage.output)

    def _message_event(self, found: Mapping[str, Any]) -> None:
        kind = found.get("type")
        if kind == "message_start" and isinstance(found.get("message"), dict):
            self._count(found["message"])
        elif kind == "content_block_delta":
            self.said += _said(found.get("delta"))
        elif kind == "message_delta":
            delta = found.get("delta")
            self.ended = self.ended or (isinstance(delta, dict) and bool(delta.get("stop_reason")))
            counted = self._count(found)
            self.final = counted and self.ended and self.usage.input is not None

    def _count(self, found: Mapping[str, Any]) -> bool:
        """Take over the usage of an object; tell whether it says how long the answer is."""
        new = _READERS[self.format](found)
        if new is None:
            return False
        self.usage = merged(self.usage, new)
        return new.output is not None

    @property
    def exceeded(self) -> bool:
        """Tell whether the answer is longer than what was reserved for it."""
        most = self.reservation.output_tokens * self.reservation.wish.choices
        return (self.usage.output or 0) > most or self.said > most * BYTES_PER_TOKEN + _SLACK

    def amount(self) -> Amount:
        """Compute what the call counts: what was reported, else the whole reservation.

        Of an answer that exceeded it, each byte counts as a token: no token is shorter.
        """
        wish = self.reservation.wish
        reserved = self.reservation.output_tokens * wish.choices
        output = self.usage.output or 0
        if not self.final:
            output = max(reserved, output, self.said if self.exceeded else 0)
        if self.usage.input is None:
            return wish.rates.most(wish.input_tokens, output)
        return wish.rates.of(self.usage, output)


def _object(text: bytes | str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _said(delta: object) -> int:
    """Count the bytes of all text in a delta, whatever its fields are called."""
    if isinstance(delta, str):
        return len(delta.encode(errors="surrogatepass"))
    if isinstance(delta, dict):
        return sum(_said(each) for each in delta.values())
    if isinstance(delta, list):
        return sum(_said(each) for each in delta)
    return 0
