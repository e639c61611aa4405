"""Bench of recipe CI: a real swarm, the stand-in of abra, a recipe repository, and the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_engine import Engine

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PORT = 8480
# This kernel has no IPVS: no virtual addresses, and no ports but those of the task's host.
OVERRIDE = f"""\
version: "3.8"
services:
  app:
    ports: [{{target: 80, published: {PORT}, mode: host}}]
    deploy: {{endpoint_mode: dnsrr}}
"""
PUBLISHED = "1.0.0+1.22.1"
_GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@test")


@dataclass
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    def stage(self, name: str) -> dict[str, Any]:
        return next(one for one in self.report["stages"] if one["name"] == name)


@dataclass
class Bench:
    """One repository of a recipe, with its published version as a tag."""

    engine: Engine
    place: Path

    @property
    def recipe(self) -> Path:
        return self.place / "static-site"

    @property
    def state(self) -> Path:
        return self.place / "state" / "agency" / "recipes" / "runs"

    @property
    def artifacts(self) -> Path:
        return self.place / "artifacts"

    def set_up(self) -> None:
        (self.place / "bin").mkdir(parents=True)
        abra = self.place / "bin" / "abra"
        shutil.copy(RECIPES / "abra_stand_in.py", abra)
        abra.chmod(0o755)
        (self.place / "bin" / "override.yml").write_text(OVERRIDE)
        source = RECIPES / "static-site"
        shutil.copytree(source / "recipe", self.recipe, copy_function=shutil.copy)
        shutil.copytree(
            source / "published", self.recipe, dirs_exist_ok=True, copy_function=shutil.copy
        )
        self.git("init", "-q", "-b", "main")
        self.commit("as published")
        self.git("tag", "-a", "-m", "published", PUBLISHED)
        shutil.copytree(
            source / "recipe", self.recipe, dirs_exist_ok=True, copy_function=shutil.copy
        )
        self.commit("the next version")

    def git(self, *words: str) -> str:
        run = [*_GIT, "-C", str(self.recipe), *words]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.recipe / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def fault(self, kind: str, at: str = "deploy") -> None:
        (self.place / "bin" / "fault").write_text(kind)
        (self.place / "bin" / "fault.at").write_text(at)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.place),
            "XDG_STATE_HOME": str(self.place / "state"),
            "DOCKER_HOST": self.engine.url,
            "COLUMNS": "80",
        }

    def argv(self, *words: str, source: str | None = None) -> list[str]:
        # The engine has a network of its own, and so the app's address is there.
        inside = ["nsenter", f"--net=/proc/{self.engine.pid}/ns/net", "--"]
        command = [sys.executable, "-m", "agency", "recipes", "try", source or str(self.recipe)]
        options = [f"--through=http://127.0.0.1:{PORT}", f"--artifacts={self.artifacts}"]
        return [*inside, *command, *options, *words]

    def try_(self, *words: str, source: str | None = None) -> Ended:
        done = subprocess.run(
            self.argv(*words, source=source),
            env=self.environment,
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=170,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def teardown(self, run: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "agency", "recipes", "teardown", run],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def serving(self, config: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`agency recipes runner`, which is killed at the end of the block."""
        words = [sys.executable, "-m", "agency", "recipes", "runner", f"--config={config}"]
        inside = ["nsenter", f"--net=/proc/{self.engine.pid}/ns/net", "--"]
        with (self.place / "runner.log").open("ab") as log:
            process = subprocess.Popen([*inside, *words], env=self.environment, stderr=log)
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A run that goes on during the block, and is killed at its end."""
        process = subprocess.Popen(
            self.argv(*words), env=self.environment, cwd=self.place, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()

    def on_swarm(self) -> list[str]:
        """All that is on the swarm, but for what every swarm has and the tests' witnesses."""
        found = [f"service {n}" for n in self._names("service", "ls")]
        found += [f"volume {n}" for n in self._names("volume", "ls")]
        found += [f"secret {n}" for n in self._names("secret", "ls")]
        found += [f"config {n}" for n in self._names("config", "ls")]
        found += [f"network {n}" for n in self._names("network", "ls")]
        found += [f"container {n}" for n in self.engine.cli("ps", "-aq").split()]
        known = ("ingress", "docker_gwbridge", "proxy", "host", "none", "bridge")
        return [one for one in found if one.split()[1] not in known and "witness" not in one]

    def _names(self, *words: str) -> list[str]:
        return self.engine.cli(*words, "--format", "{{.Name}}").split()

    def private(self) -> list[str]:
        """What is left of the private parts of runs."""
        return sorted(p.name for p in self.state.iterdir()) if self.state.is_dir() else []


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read the progress of a run until a line has a text."""
    assert process.stderr is not None
    deadline = time.monotonic() + 90
    for line in process.stderr:
        if text in line:
            return line
        assert time.monotonic() < deadline
    raise AssertionError(f"the run ended without {text!r}")
