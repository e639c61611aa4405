"""The place of an answer whose command cannot begin a thread.

A thread begins at an event that stands in no relation itself. The original of an edit may stand in
a thread, and the edit does not say so: then the answer goes to the thread of the original.
Source: Matrix specification 1.11, "Threading", "Event replacements".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.control.store.outbox import Message
from agency.matrix import MatrixError, MatrixSession, client_path

RELATION = "m.relates_to"
_MOST_STEPS = 2  # from an edit to its original, and from there to the root of its thread


async def moved(api: MatrixSession, message: Message) -> dict[str, Any] | None:
    """Return the content of a refused answer for the thread where its command was said.

    Where there is no such thread, it is a plain reply to the command. None if the answer cannot be
    placed better than it was.

    Raises:
        MatrixError: there was no answer; try again later.
    """
    relation = message.content[RELATION]
    if relation.get("rel_type") != "m.thread":
        return None
    root = relation.get("event_id")
    for _ in range(_MOST_STEPS):
        stands_in = await _relation_of(api, message, root)
        if stands_in is None:
            return None
        root = stands_in.get("event_id")
        if stands_in.get("rel_type") == "m.thread" and isinstance(root, str):
            return {**message.content, RELATION: {**relation, "event_id": root}}
        if stands_in.get("rel_type") != "m.replace" or not isinstance(root, str):
            break
    return {**message.content, RELATION: {"m.in_reply_to": relation.get("m.in_reply_to")}}


async def _relation_of(
    api: MatrixSession, message: Message, event_id: object
) -> Mapping[str, Any] | None:
    """Return the relation in which an event stands; None if there is none, or no such event."""
    try:
        event = await api.request(
            "GET",
            client_path("rooms", message.room_id, "event", str(event_id)),
            as_user=message.as_user,
        )
    except MatrixError as error:
        if error.temporary:
            raise
        return None
    content = event.get("content")
    relation = content.get(RELATION) if isinstance(content, dict) else None
    return relation if isinstance(relation, dict) and relation.get("rel_type") else None
