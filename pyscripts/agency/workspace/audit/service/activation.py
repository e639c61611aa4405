"""Socket passed by systemd (sd_listen_fds)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from agency.errors import PrerequisiteError

_FIRST = 3
_HINT = "start agency-audit.socket; systemd passes the socket at the first connection"


def activated_socket(environ: Mapping[str, str], pid: int) -> socket.socket:
    """Take the one listening Unix stream socket that systemd passed to this process.

    Raises:
        PrerequisiteError: there is none, more than one, or one of another kind.
    """
    if environ.get("LISTEN_PID") != str(pid) or environ.get("LISTEN_FDS") != "1":
        raise PrerequisiteError("systemd passed no socket", where="LISTEN_FDS", hint=_HINT)
    try:
        given = socket.socket(fileno=_FIRST)
        listening = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise PrerequisiteError(
            "the passed descriptor is no socket", where="LISTEN_FDS", hint=_HINT
        ) from error
    if not listening or (given.family, given.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        given.detach()
        raise PrerequisiteError(
            "the passed descriptor is not a listening Unix stream socket",
            where="LISTEN_FDS",
            hint=_HINT,
        )
    given.set_inheritable(False)
    return given
