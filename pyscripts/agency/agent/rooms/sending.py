"""The tool `builtin/send-message`: messages that the agent sends by itself, to named rooms.

Decided by the Gosuto like any tool; without messaging.targets there is no such tool.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agency.agent.programs.tools import Outcome, Tool
from agency.agent.rooms.events.contents import MAX_BYTES, message
from agency.agent.rooms.events.envelope import Envelope
from agency.gosuto import Answer, Document, decide
from agency.matrix import MatrixError

NAME = "builtin/send-message"
Post = Callable[[str, Mapping[str, Any]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Order:
    """A message that may be sent."""

    room: str
    content: Mapping[str, Any]


def order(
    document: Document, arguments: Mapping[str, Any], me: str, hops: int, new_id: Callable[[], str]
) -> Order | str:
    """Decide on a message: what is sent where, or why nothing is. Pure.

    `hops` are those that an envelope may have; 0 if envelopes are off or used up.
    """
    if not set(arguments) <= {"target", "text", "peer", "protocol"} or not all(
        isinstance(each, str) for each in arguments.values()
    ):
        return "the arguments are target, text, and for another agent peer and protocol: texts"
    decision = decide(document, NAME, arguments)
    if decision.answer is Answer.ASK:
        return "policy asks people about this message, which cannot be done from here"
    if decision.answer is not Answer.ALLOW:
        return f"policy refuses: {decision.reason}"
    room = document.messaging.targets.get(arguments.get("target", ""))
    if room is None:
        return "there is no such target; there are: " + ", ".join(document.messaging.targets)
    text = arguments.get("text", "").strip()
    if not text or len(text.encode(errors="replace")) > MAX_BYTES:
        return f"a text has 1 to {MAX_BYTES} bytes"
    if "peer" not in arguments and "protocol" not in arguments:
        return Order(room, message(text))
    return _to_peer(document, arguments, room, me, hops, new_id())


def _to_peer(
    document: Document,
    arguments: Mapping[str, Any],
    room: str,
    me: str,
    hops: int,
    new_id: str,
) -> Order | str:
    peer, protocol = document.trust.peers.get(arguments.get("peer", "")), arguments.get("protocol")
    if peer is None or protocol not in peer.protocols or peer.room != room:
        return "no such peer with this protocol in the room of this target"
    if hops < 1:
        return "no message to a peer: envelopes are off, or its hops are used up"
    fields = {"from": me, "to": peer.user, "protocol": protocol, "id": new_id, "hops": hops}
    envelope = Envelope.model_validate({"version": 1, **fields})
    return Order(room, message(arguments["text"], envelope))


@dataclass(frozen=True, slots=True)
class SendMessage:
    """The tool, for one task. `post` sends within the limits, and returns False for too many."""

    document: Callable[[], Document]
    me: str
    hops: int
    new_id: Callable[[], str]
    post: Post

    async def list(self) -> tuple[Tool, ...]:
        """Return the tool, if there are targets."""
        document = self.document()
        if not document.messaging.targets:
            return ()
        properties: dict[str, Any] = {
            "target": {"enum": sorted(document.messaging.targets)},
            "text": {"type": "string"},
        }
        if self.hops and document.trust.peers:
            properties["peer"] = {"enum": sorted(document.trust.peers)}
            properties["protocol"] = {"type": "string"}
        schema = {
            "type": "object",
            "properties": properties,
            "required": ["target", "text"],
            "additionalProperties": False,
        }
        return (Tool(NAME, "Send a message to a room by its name.", schema),)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Send a message, if policy and limits allow it."""
        if name != NAME:
            return Outcome("there is no such tool", failed=True)
        found = order(self.document(), arguments, self.me, self.hops, self.new_id)
        if isinstance(found, str):
            return Outcome(found, failed=True)
        try:
            sent = await self.post(found.room, found.content)
        except MatrixError as error:
            return Outcome(f"not sent: {error.message}", failed=True)
        if not sent:
            return Outcome("not sent: too many messages in this minute", failed=True)
        return Outcome("sent")
