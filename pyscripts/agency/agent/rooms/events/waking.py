"""Decision on an event of a room: does it wake the agent? A pure function.

own, no message, edit, notice ─▶ ignored      room or sender not in trust ─▶ ignored
envelope: of a peer with its protocol, or ignored
mentioned, or in a thread that the agent is in ─▶ fresh, not answered before, within the limits ─▶
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from agency.agent.rooms.events.envelope import Envelope, open_envelope
from agency.agent.rooms.events.reading import (
    MAX_TEXT,
    Event,
    Message,
    Unread,
    asked_text,
    names,
    read_message,
)
from agency.gosuto import Document

EVENTS_PER_MINUTE = 30  # where the Gosuto sets no limit
MAX_WAITING = 200
MINUTE_MS = 60_000


class Kind(Enum):
    """Kinds of verdicts."""

    WAKE = "wake"
    REFUSE = "refuse"  # said in the thread
    IGNORE = "ignore"  # said in the log alone


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on an event: `text` is what is asked, or what a refusal says."""

    kind: Kind
    reason: str = ""
    text: str = ""
    message: Message | None = None
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about the agent at the moment of a decision.

    `answered` and `in_thread` are about event ids and (room, root) of threads; `recent` counts
    what woke it within a minute, `waiting` what waits; `refused` is true if it refused within a
    minute. Events before `oldest_ms` are late.
    """

    me: str
    document: Document
    envelopes: bool
    answered: Callable[[str], bool]
    in_thread: Callable[[str, str], bool]
    recent: int
    waiting: int
    refused: bool
    oldest_ms: int


def judge(room: str, event: Event, facts: Facts) -> Verdict:
    """Decide on an event of a room's timeline."""
    trust = facts.document.trust
    if event.get("sender") == facts.me:
        return _ignored("its own")
    if trust.require_encryption:
        return _ignored("encryption is required, and this agent reads no encrypted messages")
    peers = {peer.room for peer in trust.peers.values()} if facts.envelopes else set()
    if room not in trust.rooms and room not in peers:
        return _ignored("room not trusted")
    message = read_message(room, event)
    if isinstance(message, Unread):
        return _ignored(message.value)
    if message.envelope is not None:
        return _enveloped(message, facts)
    if message.of_agent:
        return _ignored("another agent's message without an envelope")
    if not trusts(facts.document, message.room, message.sender):
        return _ignored("sender not trusted")
    if not _is_addressed(message, facts):
        return _ignored("not addressed")
    return _limited(message, facts, None)


def trusts(document: Document, room: str, sender: str) -> bool:
    """Return whether a person in a room is obeyed: by full ids, never by a name that is shown."""
    trust = document.trust
    return not trust.require_encryption and room in trust.rooms and sender in trust.senders


def _enveloped(message: Message, facts: Facts) -> Verdict:
    if not facts.envelopes:
        return _ignored("envelopes are off")
    found = open_envelope(message, facts.me, facts.document)
    if isinstance(found, str):
        return _ignored(found)
    return _limited(message, facts, found)


def _is_addressed(message: Message, facts: Facts) -> bool:
    if message.mentions is None:
        named = names(message.text, facts.me)
        return named or (message.thread is not None and facts.in_thread(message.room, message.root))
    if facts.me in message.mentions:
        return True
    if message.mentions or message.thread is None:  # it speaks to others, or to nobody
        return False
    return facts.in_thread(message.room, message.root)


def _limited(message: Message, facts: Facts, envelope: Envelope | None) -> Verdict:
    if facts.answered(message.event_id):
        return _ignored("answered before")
    text = asked_text(message.text, facts.me)
    if not text or text.startswith("!agency"):
        return _ignored("it asks for nothing" if not text else "a command of the control plane")
    limit = facts.document.limits.events_per_minute or EVENTS_PER_MINUTE
    if message.sent_ms < facts.oldest_ms:
        return _refused(
            message, facts, "This came while I was away; say it again if it still matters."
        )
    if facts.recent >= limit:
        said = f"Too many messages: I take {limit} in a minute. Say it again later."
        return _refused(message, facts, said)
    if facts.waiting >= MAX_WAITING:
        return _refused(message, facts, f"{MAX_WAITING} messages wait already. Say it again later.")
    if len(text) > MAX_TEXT:
        said = f"This is too long: I read {MAX_TEXT} characters of a message."
        return _refused(message, facts, said)
    return Verdict(Kind.WAKE, "asked", text, message, envelope)


def _refused(message: Message, facts: Facts, said: str) -> Verdict:
    """Refuse aloud once in a minute, so that a storm is not answered by a storm."""
    if facts.refused:
        return _ignored(f"refused in silence: {said}")
    return Verdict(Kind.REFUSE, said, said, message)


def _ignored(reason: str) -> Verdict:
    return Verdict(Kind.IGNORE, reason)
