"""Loopback ports: finding free ones, and clear errors when a wanted port is taken."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
import socket
from collections.abc import Iterable, Mapping

from agency.errors import PrerequisiteError

LOOPBACK = "127.0.0.1"
FREE_RANGE = range(12000, 20000)  # the agency's services and agents are elsewhere by default
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Return whether a server could bind `port` on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address; a name is none, it may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def not_listening(error: Exception) -> str:
    """Describe the error of a server that could not listen on its port."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "the port is taken by another program"
    return f"cannot listen: {getattr(error, 'strerror', None) or error}"


def is_listening(port: int, timeout_s: float = 0.5) -> bool:
    """Return whether a server accepts connections on `port`."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout_s):
        return True
    return False


def assign(names: Iterable[str], wanted: Mapping[str, int]) -> dict[str, int]:
    """Assign a port to each name: the wanted one, or else a free one that no other name got.

    Raises:
        PrerequisiteError: a wanted port is taken, or no port is free.
    """
    assigned: dict[str, int] = {}
    for name in names:
        if name not in wanted:
            assigned[name] = _free_port(taken={*assigned.values(), *wanted.values()})
            continue
        if not is_free(wanted[name]):
            raise PrerequisiteError(
                f"port {wanted[name]} for {name} is taken by another program",
                where=f"{LOOPBACK}:{wanted[name]}",
                hint=f"end that program, or choose another port: --port {name}=NUMBER",
            )
        assigned[name] = wanted[name]
    return assigned


def _free_port(taken: set[int]) -> int:
    """Find a free port below those that the kernel gives to outgoing connections."""
    for _ in range(_ATTEMPTS):
        port = secrets.choice(FREE_RANGE)
        if port not in taken and is_free(port):
            return port
    raise PrerequisiteError(
        "no free port was found", where=f"{LOOPBACK}:{FREE_RANGE.start}-{FREE_RANGE.stop - 1}"
    )
