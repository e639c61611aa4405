"""Loopback ports: finding free ones, and saying clearly when a wanted one is taken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping

from agency.errors import PrerequisiteError

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could bind `port` on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_listening(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on `port`."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout_s):
        return True
    return False


def assign(names: Iterable[str], wanted: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the wanted one, or else a free one that no other name got.

    Raises:
        PrerequisiteError: a wanted port is taken.
    """
    assigned: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for name in names:
            if name in wanted:
                if not is_free(wanted[name]):
                    raise PrerequisiteError(
                        f"port {wanted[name]} for {name} is taken by another program",
                        where=f"{LOOPBACK}:{wanted[name]}",
                        hint=f"end that program, or choose another port: --port {name}=NUMBER",
                    )
                assigned[name] = wanted[name]
                continue
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.bind((LOOPBACK, 0))
            assigned[name] = sock.getsockname()[1]
    return assigned
