"""Envelope of a message from one agent to another: a strict key beside the text. Off by default.

Who speaks is the event's sender, whom the homeserver vouches for; the envelope must say the same.
`hops` counts down with each message that another one caused, so that agents cannot talk for ever.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from agency.agent.rooms.events.reading import Message
from agency.gosuto import Document
from agency.settings import Strict

MAX_HOPS = 8
_User = Annotated[str, Field(pattern=r"^@[!-~]+$", max_length=255)]


class Envelope(Strict):
    """Version 1 of the envelope."""

    version: int = Field(strict=True, ge=1, le=1)
    sender: _User = Field(alias="from")
    to: _User
    protocol: str = Field(min_length=1, max_length=200)
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    hops: int = Field(strict=True, ge=0, le=MAX_HOPS)

    def as_content(self) -> dict[str, Any]:
        """Return the value of its key in a message."""
        return self.model_dump(by_alias=True)


def open_envelope(message: Message, me: str, document: Document) -> Envelope | str:
    """Return the envelope of a message from a peer, or why it is not taken."""
    try:
        found = Envelope.model_validate(message.envelope)
    except ValidationError:
        return "malformed envelope"
    if found.sender != message.sender:
        return "envelope of another sender"
    if found.to != me:
        return "envelope to somebody else"
    if found.hops == 0:
        return "envelope without hops left"
    if peer_named(document, message.sender, message.room, found.protocol) is None:
        return "no peer with this protocol in this room"
    return found


def peer_named(document: Document, user: str, room: str, protocol: str) -> str | None:
    """Return the name of the peer that speaks a protocol in a room; None if there is none."""
    for name, peer in document.trust.peers.items():
        if (peer.user, peer.room) == (user, room) and protocol in peer.protocols:
            return name
    return None
