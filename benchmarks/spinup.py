"""Time of a spin-up: in all, of our own part, and of the respawn that its conversation shows."""

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
_USUAL_SYNAPSE_S = 1.2  # on the quiet machine on which the limit of our own part was set


def rows() -> Iterator[Row]:
    """Measure whole runs of `spinup_smoke`, from start to verified transcript.

    The least of each number counts: anything above it is the work of other processes.
    """
    runs = [_run() for _ in range(_RUNS)]
    total, own, respawn, synapse = (min(numbers) for numbers in zip(*runs, strict=True))
    beside = ("start of Synapse in the same run", synapse)
    yield Row("spinup.total", total, "s", *beside, 15, usual=_USUAL_SYNAPSE_S)
    yield Row("spinup.own", own, "s", *beside, 4, usual=_USUAL_SYNAPSE_S)
    yield Row("spinup.respawn", respawn, "s", *beside, 1.5, usual=_USUAL_SYNAPSE_S)


def _run() -> tuple[float, float, float, float]:
    """Run once; return seconds: in all, of our own part, of the respawn, and of Synapse's start.

    The conversation kills an agent, and waits until the control plane has found that and the agent
    is back; all the while somebody approves something. This is no part of our own.
    """
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
    predicate = statement["predicate"]
    steps = {step["name"]: step["durationS"] for step in predicate["steps"]}
    seen = {probe["name"]: probe["evidence"] for probe in predicate["probes"]}
    synapse, respawn = steps["homeserver"], seen["agent.respawned"]["seconds"]
    return wall, wall - synapse - respawn, respawn, synapse
