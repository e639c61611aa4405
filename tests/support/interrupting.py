"""Ctrl-C for programs that tests start, even if the tests are a background job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigint(disposition: signal.Handlers = signal.SIG_DFL) -> Iterator[None]:
    """Set SIGINT's disposition for the block: programs started in it inherit it.

    A background job begins with SIGINT ignored, and so would its programs.
    """
    wanted = signal.default_int_handler if disposition is signal.SIG_DFL else disposition
    before = signal.signal(signal.SIGINT, wanted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
