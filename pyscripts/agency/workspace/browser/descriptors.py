"""Step between our process and Chromium: puts one socket where Chromium looks for its pipe.

`python descriptors.py NUMBER PROGRAM ARGUMENT...` becomes the program, with the socket of that
number as descriptors 3 (what it reads) and 4 (what it writes). A parent cannot number the
descriptors of a child without code between fork and exec.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence

_READS, _WRITES = 3, 4


def become(words: Sequence[str]) -> None:
    """Become the program."""
    number, program, *arguments = words
    # Out of the way first: the number may be 3 or 4 itself.
    held = fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, _WRITES + 1)
    os.dup2(held, _READS)
    os.dup2(held, _WRITES)
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become(sys.argv[1:])
