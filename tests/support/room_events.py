"""Events of rooms, and facts to judge them by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gosutos import ALICE, ROOM, document

from agency.agent.rooms.events.waking import Facts

ME = "@agent-pm:x.org"
PEER = "@agent-dev:x.org"
NOW = 1_700_000_000_000


def event(body: Any = "do it", **more: Any) -> dict[str, Any]:
    """A message of alice that mentions the agent; `more` changes its content."""
    found = {
        "type": "m.room.message",
        "event_id": "$e",
        "sender": ALICE,
        "origin_server_ts": NOW,
        "content": {"msgtype": "m.text", "body": body, "m.mentions": {"user_ids": [ME]}},
    }
    found["content"] |= more
    return found


def envelope(**more: Any) -> dict[str, Any]:
    return {"version": 1, "from": PEER, "to": ME, "protocol": "tasks", "id": "e1", "hops": 2} | more


def policy(**more: Any) -> Any:
    """A document that trusts alice and a peer in ROOM."""
    peer = {"user": PEER, "room": ROOM, "protocols": ["tasks"]}
    trust = {"rooms": [ROOM], "senders": [ALICE], "peers": {"dev": peer}}
    rules = more.pop("rules", {})
    return document(rules, **{"trust": trust | more.pop("trust", {}), **more})


def facts(**more: Any) -> Facts:
    found = Facts(
        me=ME,
        document=policy(),
        envelopes=False,
        answered=lambda event_id: False,
        in_thread=lambda room, root: False,
        recent=0,
        waiting=0,
        refused=False,
        oldest_ms=NOW - 1000,
    )
    return replace(found, **more)
