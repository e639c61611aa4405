"""Loopback ports: free ones of this worker, and another user who tries to get the agency's."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from agency import ports

_RANGE = range(10300, 12000)  # below those of the agency and of the kernel


@cache
def use() -> None:
    """Give free ports of this worker alone, each once before one comes again.

    A port is free when it is looked for, and taken when its program listens: until then another
    worker, or another program of the same test, may not get it. Processes that this one starts
    look for theirs elsewhere, as the product does.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    each = len(_RANGE) // count
    pid, elsewhere = os.getpid(), ports._free_port
    mine = _RANGE[number * each : (number + 1) * each]
    first = pid % each  # so that two runs of tests at once seldom meet
    own = itertools.cycle([*mine[first:], *mine[:first]])

    def next_port(taken: set[int]) -> int:
        if os.getpid() != pid:
            return elsewhere(taken)
        return next(port for port in own if port not in taken and ports.is_free(port))

    ports._free_port = next_port


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
