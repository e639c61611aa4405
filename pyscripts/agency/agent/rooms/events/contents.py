"""Contents of what an agent says: notices in a thread, and edits of them; no HTML, no mentions."""

from __future__ import annotations

from typing import Any

from agency.agent.rooms.events.envelope import Envelope
from agency.agent.rooms.events.reading import AGENT_KEY, ENVELOPE_KEY, visible
from agency.canonical import sha256_hex
from agency.secrets import redact_tokens

MAX_BYTES = 20 * 1024  # UTF-8 of a text; an event has 64 KiB, and JSON may double it
_BEGINNING = 200


def bounded(text: str) -> str:
    """Leave out control characters and tokens of known formats; cut what is too long."""
    told = redact_tokens(visible(text)) or "(nothing)"
    data = told.encode()
    if len(data) <= MAX_BYTES:
        return told
    kept = data[:MAX_BYTES].decode(errors="ignore")
    return f"{kept}\n[{len(told) - len(kept)} characters left out]"


def reply(text: str, root: str, answers: str) -> dict[str, Any]:
    """Return a notice in the thread of `root`, in answer to the event `answers`."""
    return {
        **_notice(text, answers),
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": answers},
        },
    }


def edit(text: str, of: str, answers: str) -> dict[str, Any]:
    """Return the edit that gives an own reply another text."""
    new = _notice(text, answers)
    short = new["body"][:_BEGINNING]  # for clients that know no edits
    return {
        **new,
        "body": f"* {short}",
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": of},
    }


def message(text: str, envelope: Envelope | None = None) -> dict[str, Any]:
    """Return a message that the agent sends by itself; with an envelope it may wake a peer."""
    plain = {"body": bounded(text), "m.mentions": {}, AGENT_KEY: {"version": 1}}
    if envelope is None:
        return {"msgtype": "m.notice", **plain}
    return {"msgtype": "m.text", **plain, ENVELOPE_KEY: envelope.as_content()}


def transaction(event_id: str, step: str) -> str:
    """Return the transaction id of a step of an answer: the same after a restart."""
    return f"agency-{sha256_hex(event_id.encode(errors='surrogatepass'))[:32]}-{step}"


def answers(event: Any, me: str, event_id: str) -> bool:
    """Return whether an event is the agent's own reply to `event_id`, and not an edit of one."""
    content = event.get("content") if isinstance(event, dict) else None
    if not isinstance(content, dict) or event.get("sender") != me or "m.new_content" in content:
        return False
    mark = content.get(AGENT_KEY)
    return isinstance(mark, dict) and mark.get("answers") == event_id


def _notice(text: str, answers: str) -> dict[str, Any]:
    return {
        "msgtype": "m.notice",
        "body": bounded(text),
        "m.mentions": {},
        AGENT_KEY: {"version": 1, "answers": answers},
    }
