"""Program that runs another one on a pseudo-terminal: `python -m THIS ARGV`.

It exits as the other one does. When it is killed, the terminal hangs up and the kernel tells the
other one (SIGHUP).
"""

from __future__ import annotations

import os
import pty
import sys


def main() -> int:
    """Run the arguments; copy what they write on the terminal to standard output."""
    return os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
