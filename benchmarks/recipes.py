"""The harness's own part of a recipe's run: all stages of the static site on a real Docker Swarm.

The run itself says how long it was in child processes and in waits for the swarm and the app; what
is left of the command's wall clock is its own, with the start of its interpreter. It needs root.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row

_SHARE = 0.05
_RUNS = 3


def rows() -> Iterator[Row]:
    """Measure the run of three whose own share is the least."""
    from recipe_bench import Bench
    from recipe_swarm import recipe_swarm

    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as text, recipe_swarm(Path(text)) as engine:
        for number in range(_RUNS):
            bench = Bench(engine, Path(text) / f"run-{number}")
            bench.set_up()
            began = time.perf_counter()
            ended = bench.try_("--json", within_s=600)
            whole = time.perf_counter() - began
            if ended.status != 0:
                raise RuntimeError(f"a run that was to pass did not: {ended.stderr}{bench.logs()}")
            times = ended.report["times"]
            found.append((whole - times["programs_s"] - times["waits_s"], whole))
    own, whole = min(found, key=lambda one: one[0] / one[1])
    yield Row("recipes.own", own, "s", "the whole run", whole, _SHARE, limit_on="ratio")
