"""Program that enters a control group and becomes another: `python -m THIS FILE... -- ARGV`.

The process enters by itself, so nothing of it ever was outside. Where the kernel does not let it
in, it says so and goes on: a session of a person may be in another subtree than the groups.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Write this process's id to the files before `--`; execute what is after it."""
    at = words.index("--")
    for name in words[:at]:
        try:
            Path(name).write_text("0")  # this process
        except OSError as error:
            sys.stderr.write(f"cannot enter {name}: {error.strerror}; no limit holds\n")
    program = words[at + 1]
    os.execv(program, words[at + 1 :])  # noqa: S606 - an argv list, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
