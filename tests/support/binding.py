"""Loopback ports: free ones of this worker, and another user who tries to get the agency's."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agency import ports

_FIRST, _EACH, _WORKERS = 10300, 100, 17


def use() -> None:
    """Find free ports among those of this worker alone, in this process and its forks.

    A port is free when it is looked for, and taken a second later; with one range for all, another
    worker got it in between. The range is below those of the agency and of the kernel.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    number = int(worker) % _WORKERS if worker.isdigit() else 0
    start = _FIRST + number * _EACH
    ports.FREE_RANGE = range(start, start + _EACH)


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
    return ports.assign(("free",), {})["free"]
