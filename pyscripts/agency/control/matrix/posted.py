"""Search for a message that may be in its room already.

A homeserver remembers a transaction id only for a while: Synapse forgets those of application
services when it restarts. After a crash, or a call without an answer, the room itself is searched.
"""

from __future__ import annotations

import json
from typing import Any

from agency.control.store.outbox import Message
from agency.matrix import MatrixError, MatrixSession, client_path
from agency.protocols import NOTICE_KEY, REPLY_KEY


async def posted_event(api: MatrixSession, message: Message) -> str | None:
    """Return the id of the event that posted this message; None if it is not in its place.

    Its place is its thread, for an edit the message that it edits, or else the newest messages of
    the bot.

    Raises:
        MatrixError: there was no answer; search again before sending.
    """
    relation = message.content.get("m.relates_to", {})
    place = relation.get("event_id")
    if isinstance(place, str):
        kind = (relation["rel_type"], "m.room.message")
        path = client_path("rooms", message.room_id, "relations", place, *kind, version="v1")
        query = {"limit": "50"}
    else:
        own = {"types": ["m.room.message"], "senders": [message.as_user]}
        path = client_path("rooms", message.room_id, "messages")
        query = {"dir": "b", "limit": "50", "filter": json.dumps(own)}
    try:
        answer = await api.request("GET", path, query=query)
    except MatrixError as error:
        if error.temporary:
            raise
        return None
    return next(
        (found for event in answer.get("chunk", []) if (found := _is(message, event))), None
    )


def _is(message: Message, event: Any) -> str | None:
    """Return the event's id if it is this message."""
    if not isinstance(event, dict) or event.get("sender") != message.as_user:
        return None
    content = event.get("content")
    # What neither carries says nothing: a message queued by a version without it is sent again.
    same = isinstance(content, dict) and any(
        key in message.content and content.get(key) == message.content[key]
        for key in (REPLY_KEY, NOTICE_KEY)
    )
    return str(event.get("event_id")) if same else None
