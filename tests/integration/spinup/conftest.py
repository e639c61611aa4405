"""Driving the real `spinup_smoke` as a person or a mishap would."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agency.children import processes_with_marker

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
DEADLINE_S = 120


@dataclass
class SpinUp:
    """One `spinup_smoke` under way, in its own state directory."""

    place: Path
    arguments: tuple[str, ...] = ()
    state: Path | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    @property
    def output(self) -> Path:
        return self.place / "out" / "transcript.json"

    @property
    def public_key(self) -> Path:
        return self.output.with_suffix(".pub")

    @property
    def state_home(self) -> Path:
        return self.state or self.place / "state"

    @property
    def runs(self) -> Path:
        return self.state_home / "agency" / "runs"

    def start(self) -> SpinUp:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place),
            "XDG_STATE_HOME": str(self.state_home),
            "LANG": "C.UTF-8",
        }
        argv = [str(BIN / "spinup_smoke"), "--output", str(self.output), *self.arguments]
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def until(self, condition, what: str):
        """Wait until `condition()` is true; its value."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            assert self.process.poll() is None, f"it ended before {what}:\n{self.text}"
            time.sleep(0.01)
        pytest.fail(f"no {what} within {DEADLINE_S} s:\n{self.text}")

    def reach(self, step: str) -> None:
        """Wait until a step has begun."""
        self.until(lambda: f"... {step}\n" in self.lines, f"step {step}")

    @property
    def run(self) -> str:
        """The id of the run, once its directory is there."""
        return self.until(
            lambda: next((p.name for p in self.runs.glob("run-*")), ""), "run directory"
        )

    def find(self, *words: str) -> int:
        """The pid of the process of this run whose command line holds all the words."""

        def look() -> int | None:
            for pid in processes_with_marker(self.run):
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if all(word in argv for word in words):
                    return pid
            return None

        return self.until(look, f"process {' '.join(words)}")

    def end(self) -> int:
        status = self.process.wait(DEADLINE_S)
        deadline = time.monotonic() + 5
        while threading.active_count() > 1 and time.monotonic() < deadline:
            if not any(t.name.endswith("(_read)") for t in threading.enumerate()):
                break
            time.sleep(0.01)
        return status

    def predicate(self) -> dict:
        envelope = json.loads(self.output.read_text())
        return json.loads(base64.b64decode(envelope["payload"]))["predicate"]

    def verify(self, *extra: str) -> subprocess.CompletedProcess[str]:
        argv = [str(BIN / "agency"), "transcript", "verify", str(self.output)]
        argv += ["--key", str(self.public_key), *extra]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def assert_nothing_left(self, run: str) -> None:
        assert processes_with_marker(run) == ()
        assert list(self.runs.glob("run-*")) == []


@pytest.fixture
def spinup(tmp_path):
    """Make spin-ups; whatever they leave running is ended by its own marker."""
    made: list[SpinUp] = []

    def make(*arguments: str, state: Path | None = None) -> SpinUp:
        place = tmp_path / f"s{len(made)}"
        place.mkdir()
        made.append(SpinUp(place, arguments, state))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def agency(tmp_path):
    """Run the real `agency` command in a home and state directory of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "agency-state"),
        "LANG": "C.UTF-8",
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "agency"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    return call
