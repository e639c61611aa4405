"""Speakers of a control plane, built from what its parts share."""

from __future__ import annotations

from collections.abc import Callable

from agency.control.matrix.sending import Sender
from agency.control.rooms.speaking import Speaker
from agency.control.service.shared import Shared, new_trace


def build_speaker(
    plane: Shared, sender: Sender, room_id: Callable[[], str | None] | None = None
) -> Speaker:
    """Build what says things to a room: the control room, unless another one is named."""
    return Speaker(
        database=plane.database,
        clock=plane.clock,
        room_id=(lambda: plane.room_id) if room_id is None else room_id,
        as_user=plane.config.bot_id,
        new_trace=new_trace,
        say=sender.offer,
        max_outbox=plane.config.limits.max_outbox,
    )
