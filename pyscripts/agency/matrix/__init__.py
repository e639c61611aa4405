"""Matrix client: calls, back-off, rooms, and a person at a client.

control plane, reconcilers     spin-up, `agency room`
          |                            |
     ControlRoom                    Person        (log-in, sync, say, wait for a reply)
          |                            |
          +------ MatrixSession -------+          (one call, one answer, one kind of error)
                       |
                    aiohttp
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.matrix.backoff import LONGEST_S, Backoff
    from agency.matrix.control_room import ControlRoom, RoomPlan
    from agency.matrix.errors import AnswerError, MatrixError, NoReplyError
    from agency.matrix.paths import client_path
    from agency.matrix.person import Patience, Person
    from agency.matrix.rooms import Membership, lists_creator, localpart, power_levels
    from agency.matrix.session import MatrixSession, client_session

__all__ = [
    "LONGEST_S",
    "AnswerError",
    "Backoff",
    "ControlRoom",
    "MatrixError",
    "MatrixSession",
    "Membership",
    "NoReplyError",
    "Patience",
    "Person",
    "RoomPlan",
    "client_path",
    "client_session",
    "lists_creator",
    "localpart",
    "power_levels",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LONGEST_S": "backoff",
        "AnswerError": "errors",
        "Backoff": "backoff",
        "ControlRoom": "control_room",
        "MatrixError": "errors",
        "MatrixSession": "session",
        "Membership": "rooms",
        "NoReplyError": "errors",
        "Patience": "person",
        "Person": "person",
        "RoomPlan": "control_room",
        "client_path": "paths",
        "client_session": "session",
        "lists_creator": "rooms",
        "localpart": "rooms",
        "power_levels": "rooms",
    },
)
