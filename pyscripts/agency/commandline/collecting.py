"""Collection of garbage by a program that begins: not while it imports, and not when it ends.

Both search all of some hundred thousand objects, none of which is garbage: a tenth of the time of
an import, and a quarter of a second at the end of a large program.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing in the block, which imports modules."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def leave(status: int) -> NoReturn:
    """End the program. Memory is the kernel's again, so nothing in it is searched before."""
    gc.freeze()
    sys.exit(status)
