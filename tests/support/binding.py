"""Loopback ports: a free one, and another user who tries to get those of the agency."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def somebody_binds(*ports: int) -> Iterator[list[int]]:
    """Try for ports without a pause; yield the ports that were got."""
    got: list[int] = []
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            for port in ports:
                with socket.socket() as attempt:
                    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with suppress(OSError):
                        attempt.bind(("127.0.0.1", port))
                        attempt.listen()
                        got.append(port)
            over.wait(0.0005)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield got
    finally:
        over.set()
        thread.join()


def free_port() -> int:
    """A loopback port that nobody holds now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
