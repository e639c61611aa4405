"""Asking of people for approvals: where the prompts of an operation are posted."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from agency.control.execution.replies import Reply, notice_message, reply_message
from agency.control.operation import Operation, OriginKind
from agency.control.operations.approving.prompts import prompt_ids
from agency.control.store import outbox
from agency.control.store.outbox import Message, StoredMessage


def prompts(
    operation: Operation, notice: Reply, *, as_user: str, room_id: str, approvals_room: str
) -> list[Message]:
    """Make the prompts of an operation.

    One stands in its thread; for an operation without a thread it stands in `room_id`, the control
    room. In `approvals_room`, if there is one, stands another: the only one without a thread.
    """
    origin, trace = operation.origin, operation.trace
    here, there = prompt_ids(operation)
    made: list[Message] = []
    rooms = {there: approvals_room} if approvals_room else {}
    if origin.kind is OriginKind.MATRIX:
        index = operation.replies
        made.append(reply_message(notice, origin, as_user=as_user, trace=trace, index=index))
    elif not rooms and room_id:
        rooms = {here: room_id}
    for txn_id, room in rooms.items():
        asked = notice_message(notice.text, room, as_user=as_user, trace=trace, rings=True)
        made.append(replace(asked, txn_id=txn_id))
    return made


def queue_prompts(connection: Connection, made: list[Message], now_ts: int) -> list[StoredMessage]:
    """Queue prompts; return those that were not queued before."""
    queued = [outbox.add(connection, message, now_ts) for message in made]
    return [message for message in queued if message is not None]


def queued_prompts(connection: Connection, operation: Operation) -> list[StoredMessage]:
    """Return the prompts of an operation that were queued and not sent."""
    found = (outbox.find_pending(connection, txn_id) for txn_id in prompt_ids(operation))
    return [message for message in found if message is not None]
