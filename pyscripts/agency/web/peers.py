"""User on the other side of a request that came by a Unix socket."""

from __future__ import annotations

import socket

from aiohttp import web

from agency.unix_sockets import peer_of


def peer_uid(request: web.Request) -> int | None:
    """Read the user from the kernel; None for a request that came another way, or is gone."""
    made = None if request.transport is None else request.transport.get_extra_info("socket")
    if made is None or made.family != socket.AF_UNIX:
        return None
    return peer_of(made).uid
