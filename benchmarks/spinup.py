"""How long a spin-up takes, and how much of that is ours rather than Synapse's."""

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


def rows() -> Iterator[Row]:
    """One whole `spinup_smoke`, from start to verified transcript."""
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
    yield Row("spinup.total", wall, "s", "start of Synapse in the same run", synapse, 15)
    yield Row("spinup.own", wall - synapse, "s", "start of Synapse in the same run", synapse, 5)
