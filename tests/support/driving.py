"""Driver of the real `spinup_smoke`, as a person runs it or an accident hits it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agency.children import processes_with_marker

Found = TypeVar("Found")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DEADLINE_S = 120


def share_caches(state_home: Path) -> None:
    """Let a state directory have what is compiled once for each set of libraries and sources."""
    shared = Path(tempfile.gettempdir()) / f"agency-tests-{os.geteuid()}"
    state = state_home / "agency"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("libraries", "bytecode"):
        (shared / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (state / name).is_symlink():
            (state / name).symlink_to(shared / name)


@dataclass
class SpinUp:
    """One running `spinup_smoke`, in its own state directory."""

    place: Path
    arguments: tuple[str, ...] = ()
    state: Path | None = None
    checkout: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float = DEADLINE_S
    sigint: signal.Handlers = signal.SIG_DFL
    program: tuple[str, ...] = (str(BIN / "spinup_smoke"),)
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
        share_caches(self.state_home)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place),
            "XDG_STATE_HOME": str(self.state_home),
            "LANG": "C.UTF-8",
            # The program of the checkout under test; the installed one is this checkout's.
            "PYTHONPATH": str(self.checkout / "pyscripts"),
            **self.environment,
        }
        # By env(1), for tests start it in threads too: there, Python may not set a disposition.
        how = "--ignore-signal=INT" if self.sigint is signal.SIG_IGN else "--default-signal=INT"
        program = [*self.program, "--output", str(self.output), *self.arguments]
        argv = [str(shutil.which("env")), how, *program]
        self.process = subprocess.Popen(
            argv,
            cwd=self.checkout,
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

    def until(self, condition: Callable[[], Found], what: str) -> Found:
        """Wait until `condition()` is true, and return its value."""
        deadline = time.monotonic() + self.deadline_s
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            value = condition()  # after `ended`, so that the last output counts too
            if value:
                return value
            assert not ended, f"it ended before {what}:\n{self.text}"
            time.sleep(0.01)
        pytest.fail(f"no {what} within {self.deadline_s:g} s:\n{self.text}")

    def reach(self, step: str) -> None:
        """Wait until a step has begun."""
        self.until(lambda: f"... {step}\n" in self.lines, f"step {step}")

    @property
    def run(self) -> str:
        """Wait for the run's directory or transcript, and return the run's id."""

        def look() -> str:
            if self.output.exists():  # a run that fails at once may be over by now
                return str(self.predicate()["run"])
            return next((path.name for path in self.runs.glob("run-*")), "")

        return self.until(look, "run directory")

    def find(self, *words: str) -> int:
        """Return the pid of this run's process whose command line holds all the words."""

        def look() -> int | None:
            for pid in processes_with_marker(self.run):
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if all(word in argv for word in words):
                    return pid
            return None

        return self.until(look, f"process {' '.join(words)}")

    def end(self) -> int:
        status = self.process.wait(self.deadline_s)
        deadline = time.monotonic() + 5
        while threading.active_count() > 1 and time.monotonic() < deadline:
            if not any(t.name.endswith("(_read)") for t in threading.enumerate()):
                break
            time.sleep(0.01)
        return status

    def predicate(self) -> dict[str, Any]:
        envelope = json.loads(self.output.read_text())
        return json.loads(base64.b64decode(envelope["payload"]))["predicate"]

    def verify(self, *extra: str) -> subprocess.CompletedProcess[str]:
        argv = [str(BIN / "agency"), "transcript", "verify", str(self.output)]
        argv += ["--key", str(self.public_key), *extra]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def assert_nothing_left(self, run: str) -> None:
        assert processes_with_marker(run) == ()
        assert list(self.runs.glob("run-*")) == []
        assert list((self.state_home / "agency" / "programs").glob("program-*")) == []
