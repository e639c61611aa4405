"""Stand-in for `agency recipes run`: keeps an app's lock, obeys a plan, leaves a result.

recipe_stand_in.py STATE RUN; the plan is the text of `<state>/plan/<recipe's pull request>`, else
of `<state>/plan/default`: `pass`, `fail`, `silent` (no result), `hang`, `stubborn` (deaf to
SIGTERM, with a grandchild in a session of its own), `daemon` (passes, and leaves a process without
parent, session or environment of the run), `chatty` (writes without end).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agency.files import write_atomically
from agency.orphans import adopt
from agency.recipes.run import places


def main() -> None:
    """Play one run."""
    adopt()
    state, run = Path(sys.argv[1]), sys.argv[2]
    note(state, f"start {run}")
    with sqlite3.connect(f"file:{state / 'recipes.db'}?mode=ro", uri=True) as record:
        ((number,),) = record.execute("SELECT pull_request FROM runs WHERE id = ?", (run,))
    own = state / "plan" / str(number)
    plan = (own if own.exists() else state / "plan" / "default").read_text().strip()
    with app(state, run):
        outcome = act(state, plan)
    note(state, f"end {run}")
    if outcome is None:
        sys.stdout.write("the last line of a silent run\n")
        raise SystemExit(0)
    write_result(state, run, outcome)
    raise SystemExit(0 if outcome == "pass" else 1)


@contextlib.contextmanager
def app(state: Path, run: str) -> Iterator[None]:
    """Hold the lock of the run's app; SIGTERM ends the block, and the app with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    private = places.create(state / "apps", f"wiki-pr-1-{run}.ci.example.org")
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(0.2)  # a teardown takes its time
        note(state, f"teardown {run}")
        private.remove()


def act(state: Path, plan: str) -> str | None:
    """Do what the plan says; return the outcome."""
    if plan == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", _DEAF, str(state)], start_new_session=True)
    if plan == "daemon":
        words = [sys.executable, "-c", _DEAF, str(state)]
        between = (
            f"import subprocess; subprocess.Popen({words!r}, env={{}}, start_new_session=True)"
        )
        subprocess.run([sys.executable, "-c", between], check=True)
        while not (state / "grandchild").exists():
            time.sleep(0.02)
        return "pass"
    if plan in ("hang", "stubborn"):
        time.sleep(600)
    if plan == "chatty":
        while True:
            sys.stdout.write("x" * 200 + "\n")
            time.sleep(0.01)
    time.sleep(float(os.environ.get("STAND_IN_S", "0.1")))
    return None if plan == "silent" else plan


_DEAF = """\
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "grandchild").write_text(str(os.getpid()))
time.sleep(600)
"""


def write_result(state: Path, run: str, outcome: str) -> None:
    """Write the result as `conduct` does, last."""
    result = {
        "run": run,
        "outcome": outcome,
        "stages": [{"name": "install", "outcome": outcome, "reason": "as planned"}],
        "teardown": {"clean": True, "left": []},
    }
    write_atomically(state / "artifacts" / run / "result.json", json.dumps(result).encode())


def note(state: Path, line: str) -> None:
    """Append a line in one write."""
    with (state / "notes").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
