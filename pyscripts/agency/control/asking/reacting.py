"""Reactions to prompts of what agents ask, as the commands that they stand for."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from agency.control.ask import State
from agency.control.asking.wording import prompt_id
from agency.control.events import IncomingEvent, Reaction
from agency.control.operations.approving.prompts import command_for, is_decisive
from agency.control.policy import Policy
from agency.control.store import asks, outbox


def meant_by(policy: Policy, connection: Connection, reaction: Reaction) -> IncomingEvent | None:
    """Return the command that a reaction stands for; None if it is none.

    Only the last prompt of what waits counts, and only as the bot itself sent it, in that room.
    """
    if reaction.by not in policy.people.everybody or not is_decisive(reaction.key):
        return None
    txn = outbox.transaction_of(connection, reaction.target, reaction.room_id)
    if txn is None:
        return None
    planned = outbox.planned_id(txn)
    for ask in asks.waiting(connection):
        same = prompt_id(ask) == planned and ask.room_id == reaction.room_id
        if same and ask.state is State.WAITING:
            return reaction.said(command_for(reaction.key, ask.id), reaction.target)
    return None
