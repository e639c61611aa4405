"""Bench of recipe CI: a real swarm, the stand-in of abra, a recipe repository, and the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker_engine import Engine
from recipe_proxy import HTTPS_PORT, STACK, ZONE, ca_file

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PORT = 8480  # of the app itself, beside the proxy
# Of the static site, for tests that tag it themselves.
PUBLISHED = "1.0.0+1.22.1"
_LABEL = re.compile(r"\.version=(\d+\.\d+\.\d+\+[^\"]+)")
_PORT = re.compile(r"loadbalancer\.server\.port=(\d+)")
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


def override(name: str, port: int | None = PORT) -> str:
    """One more compose file for a kernel without IPVS, which the test host's is.

    It has no virtual addresses, and no ports but those of the task's host. Without a port the app
    is behind the proxy alone, as it must be where there are two.
    """
    parts = [
        yaml.safe_load(one.read_text()) for one in (RECIPES / name / "recipe").glob("compose*")
    ]
    services = {service for part in parts for service in part.get("services", {})}
    extra: dict[str, Any] = {one: {"deploy": {"endpoint_mode": "dnsrr"}} for one in services}
    if port is not None:
        found = _PORT.search((RECIPES / name / "recipe" / "compose.yml").read_text())
        assert found is not None
        extra["app"]["ports"] = [{"target": int(found[1]), "published": port, "mode": "host"}]
    return yaml.safe_dump({"version": "3.8", "services": extra})


def stand_in(directory: Path, overrides: dict[str, str]) -> None:
    """Put the stand-in of abra there, with an override for a recipe, or for all (an empty name)."""
    directory.mkdir(parents=True)
    abra = directory / "abra"
    shutil.copy(RECIPES / "abra_stand_in.py", abra)
    abra.chmod(0o755)
    for name, text in overrides.items():
        (directory / f"override{name and '.'}{name}.yml").write_text(text)


def environment_at(engine: Engine, place: Path) -> dict[str, str]:
    """Make the environment of a program with its home and the stand-in of abra below a place."""
    return {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "HOME": str(place),
        "XDG_STATE_HOME": str(place / "state"),
        "DOCKER_HOST": engine.url,
        "COLUMNS": "80",
    }


def on_swarm(engine: Engine) -> list[str]:
    """List what is on the swarm, but for what every swarm has and the tests' witnesses."""
    kinds = ("service", "volume", "secret", "config", "network")
    listed = {one: engine.cli(one, "ls", "--format", "{{.Name}}").split() for one in kinds}
    listed["container"] = engine.cli("ps", "-a", "--format", "{{.Names}}").split()
    known = ("ingress", "docker_gwbridge", "proxy", "host", "none", "bridge")
    others = ("witness", f"{STACK}_")  # of nobody's run: the witnesses, and the proxy
    return [
        f"{kind} {name}"
        for kind, names in listed.items()
        for name in names
        if name not in known and not name.startswith(others)
    ]


@dataclass
class Bench:
    """One repository of a recipe, with its published version as a tag."""

    engine: Engine
    place: Path
    name: str = "static-site"

    @property
    def recipe(self) -> Path:
        return self.place / self.name

    @property
    def published(self) -> str:
        """The version that the published files say they are."""
        found = _LABEL.search((RECIPES / self.name / "published" / "compose.yml").read_text())
        assert found is not None
        return found[1]

    @property
    def state(self) -> Path:
        return self.place / "state" / "agency" / "recipes" / "runs"

    @property
    def artifacts(self) -> Path:
        return self.place / "artifacts"

    def set_up(self) -> None:
        stand_in(self.place / "bin", {"": override(self.name)})
        self.make_repository()

    def make_repository(self) -> None:
        """Make the recipe's repository: as published, and the next version."""
        source = RECIPES / self.name
        shutil.copytree(source / "recipe", self.recipe, copy_function=shutil.copy)
        self.git("init", "-q", "-b", "main")
        if (source / "published").is_dir():
            self._publish(source)
        shutil.copytree(
            source / "recipe", self.recipe, dirs_exist_ok=True, copy_function=shutil.copy
        )
        self.commit("the next version")

    def _publish(self, source: Path) -> None:
        shutil.copytree(
            source / "published", self.recipe, dirs_exist_ok=True, copy_function=shutil.copy
        )
        self.commit("as published")
        self.git("tag", "-a", "-m", "published", self.published)

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
        return environment_at(self.engine, self.place)

    def argv(self, *words: str, source: str | None = None) -> list[str]:
        # The engine has a network of its own, and so the app's address is there.
        inside = ["nsenter", f"--net=/proc/{self.engine.pid}/ns/net", "--"]
        command = [sys.executable, "-m", "agency", "recipes", "try", source or str(self.recipe)]
        options = [f"--through=https://127.0.0.1:{HTTPS_PORT}", f"--ca={ca_file(self.engine)}"]
        options += [f"--zone={ZONE}", f"--artifacts={self.artifacts}"]
        return [*inside, *command, *options, *words]

    def try_(self, *words: str, source: str | None = None, within_s: float = 170) -> Ended:
        done = subprocess.run(
            self.argv(*words, source=source),
            env=self.environment,
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=within_s,
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
    def serving(
        self, config: Path, credentials: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`agency recipes runner`, which is killed at the end of the block."""
        given = {} if credentials is None else {"CREDENTIALS_DIRECTORY": str(credentials)}
        words = [sys.executable, "-m", "agency", "recipes", "runner", f"--config={config}"]
        inside = ["nsenter", f"--net=/proc/{self.engine.pid}/ns/net", "--"]
        with (self.place / "runner.log").open("ab") as log:
            process = subprocess.Popen([*inside, *words], env=self.environment | given, stderr=log)
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
        return on_swarm(self.engine)

    def logs(self) -> str:
        """The end of every log of the runs, for who reads why one failed."""
        found = sorted(self.artifacts.glob("*/logs/*.log"))
        return "".join(f"\n== {one.name}\n{one.read_text()[-3000:]}" for one in found)

    def processes(self, nap: str) -> list[str]:
        """Processes that sleep so long."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if place.read_bytes().split(b"\0")[:2] == [b"sleep", nap.encode()]:
                    found.append(place.parent.name)
        return found

    def private(self) -> list[str]:
        """What is left of the private parts of runs."""
        return sorted(p.name for p in self.state.iterdir()) if self.state.is_dir() else []


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read the progress of a run until a line has a text; a busy machine takes a minute a stage."""
    assert process.stderr is not None
    deadline = time.monotonic() + 150
    for line in process.stderr:
        if text in line:
            return line
        assert time.monotonic() < deadline
    raise AssertionError(f"the run ended without {text!r}")
