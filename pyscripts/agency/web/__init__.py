"""HTTP servers: limits, refusals, events and log-in in one place.

connection -> runner (head) -> refusals -> own checks -> limits (body, time) -> handler
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.web.app import Limits, Refuse, make_app, make_runner
    from agency.web.events import Broadcast, Event, send_events
    from agency.web.login import Session, Sessions, carries_bearer, drop_cookie, set_cookie
    from agency.web.refusals import as_json, as_wanted

__all__ = [
    "Broadcast",
    "Event",
    "Limits",
    "Refuse",
    "Session",
    "Sessions",
    "as_json",
    "as_wanted",
    "carries_bearer",
    "drop_cookie",
    "make_app",
    "make_runner",
    "send_events",
    "set_cookie",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Broadcast": "events",
        "Event": "events",
        "Limits": "app",
        "Refuse": "app",
        "Session": "login",
        "Sessions": "login",
        "as_json": "refusals",
        "as_wanted": "refusals",
        "carries_bearer": "login",
        "drop_cookie": "login",
        "make_app": "app",
        "make_runner": "app",
        "send_events": "events",
        "set_cookie": "login",
    },
)
