"""Time of `agency --help`, beside a bare process that imports click."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row

_RUNS = 15
# An installed program has its bytecode; where writing it is forbidden, the first run writes it.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _seconds(argv: list[str]) -> float:
    begun = time.perf_counter()
    # By a pipe, which ends with the program: with a time limit alone, subprocess asks in steps of
    # up to 32 ms whether it has ended.
    subprocess.run(argv, env=_ENVIRONMENT, capture_output=True, timeout=60, check=True)
    return time.perf_counter() - begun


def rows() -> Iterator[Row]:
    """Yield medians of runs in pairs, so that a machine that slows down slows both."""
    agency = [str(Path(sys.executable).parent / "agency"), "--help"]
    bare = [sys.executable, "-c", "import click"]
    for argv in (agency, bare):
        _seconds(argv)
    pairs = [(_seconds(agency), _seconds(bare)) for _ in range(_RUNS)]
    yield Row(
        name="cli.help",
        value=statistics.median(pair[0] for pair in pairs),
        unit="s",
        baseline="python -c 'import click'",
        baseline_value=statistics.median(pair[1] for pair in pairs),
        limit=1.5,
        limit_on="ratio",
    )
