"""Time of a spin-up, with and without the start of Synapse."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row

_RUNS = 3


def rows() -> Iterator[Row]:
    """Measure whole runs of `spinup_smoke`, from start to verified transcript.

    The least of each number counts: anything above it is the work of other processes.
    """
    runs = [_run() for _ in range(_RUNS)]
    total, own, synapse = (min(numbers) for numbers in zip(*runs, strict=True))
    yield Row("spinup.total", total, "s", "start of Synapse in the same run", synapse, 15)
    yield Row("spinup.own", own, "s", "start of Synapse in the same run", synapse, 4)


def _run() -> tuple[float, float, float]:
    """Run once; return seconds: in all, without Synapse's start, and of Synapse's start."""
    program = str(Path(sys.executable).parent / "spinup_smoke")
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "transcript.json"
        argv = [program, "--target", "local", "--output", str(output)]
        begun = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        wall = time.perf_counter() - begun
        if done.returncode != 0:
            raise RuntimeError(f"the spin-up failed:\n{done.stdout}{done.stderr}")
        envelope = json.loads(output.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    steps = {step["name"]: step["durationS"] for step in statement["predicate"]["steps"]}
    synapse = steps["homeserver"]
    return wall, wall - synapse, synapse
