"""Ctrl-C for programs that tests start, also where the tests are a background job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigint(disposition: signal.Handlers = signal.SIG_DFL) -> Iterator[None]:
    """Give SIGINT a disposition: programs that are started in the block begin with it.

    A background job has SIGINT ignored from the start, and what it starts inherits that.
    """
    wanted = signal.default_int_handler if disposition is signal.SIG_DFL else disposition
    before = signal.signal(signal.SIGINT, wanted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
