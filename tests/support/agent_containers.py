"""A real Docker Engine with the agents' image, and runtimes on it."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from docker_engine import Engine, busybox_rootfs, private_engine

from agency.control.runtimes.docker.runtime import DockerRuntime
from agency.control.runtimes.docker.settings import DockerSettings

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = "test"
PYTHON = "/opt/agency/bin/python3"


@dataclass
class AgentsEngine:
    """An engine with the image of `make agent-image`."""

    engine: Engine
    image: str
    image_id: str

    def cli(self, *arguments: str) -> str:
        return self.engine.cli(*arguments)

    def both(self, *arguments: str) -> tuple[str, str]:
        """Standard output and standard error of the command line, whatever its end."""
        done = subprocess.run(
            ["docker", "--host", self.engine.url, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(self.engine.place)},
        )
        return done.stdout, done.stderr

    def settings(self, **limits: Any) -> DockerSettings:
        named = {"url": self.engine.url, "image": self.image, "image_id": self.image_id}
        return DockerSettings(**{**named, **limits})

    def runtime(
        self, place: Path, port_of: Callable[[str], int], *, instance: str = INSTANCE, **more: Any
    ) -> DockerRuntime:
        settings = more.pop("settings", None) or self.settings()
        return DockerRuntime(
            settings,
            instance=instance,
            directory=place / "containers",
            logs=place / "logs",
            port_of=port_of,
            redeem=lambda agent: place / "redeem" / agent / "redeem.sock",
            **{"stop_timeout_s": 10, **more},
        )

    def inside(self, container: str, code: str) -> tuple[int, str]:
        """Run Python in a container, as its agent would; return exit status and output."""
        return self._python("exec", container, code)

    def outside(self, code: str, *options: str) -> tuple[int, str]:
        """Run Python in a container of the same image that nothing confines: the control."""
        open_to_all = ("--user=0:0", f"--entrypoint={PYTHON}", *options)
        return self._python("run", "--rm", *open_to_all, self.image, code)

    def _python(self, *arguments: str) -> tuple[int, str]:
        *before, code = arguments
        python = ["-I", "-c", code] if before[0] == "run" else [PYTHON, "-I", "-c", code]
        done = subprocess.run(
            ["docker", "--host", self.engine.url, *before, *python],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(self.engine.place)},
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def import_program(
        self, name: str, script: str, more: Mapping[str, bytes] = MappingProxyType({})
    ) -> DockerSettings:
        """Make an image in which a shell script stands in for the agent's Python."""
        program = {PYTHON.lstrip("/"): f"#!/bin/sh\n{script}\n".encode()}
        tarball = busybox_rootfs({**program, **more})
        image_id = self.engine.cli("import", "-", name, stdin=tarball)
        return self.settings(image=name, image_id=image_id)

    def running(self) -> tuple[str, ...]:
        """The containers that run, by their short ids, as a person sees them."""
        return tuple(sorted(self.cli("ps", "-q").split()))

    def sweep(self) -> None:
        """Remove every container and volume."""
        if found := self.cli("ps", "-aq").split():
            self.cli("rm", "--force", *found)
        if found := self.cli("volume", "ls", "-q").split():
            self.cli("volume", "rm", "--force", *found)

    @functools.cached_property
    def counts_cpu(self) -> bool:
        """Whether this machine lets the engine count processor time."""
        root = Path("/sys/fs/cgroup")
        return any(
            (root / file).exists() for file in ("cgroup.controllers", "cpuacct/cpuacct.usage")
        )


@contextlib.contextmanager
def agents_engine(place: Path) -> Iterator[AgentsEngine]:
    """Run an engine, and give it the image that set-up makes."""
    with private_engine(place) as engine:
        image, image_id = give_image(engine)
        yield AgentsEngine(engine, image, image_id)


def give_image(engine: Engine) -> tuple[str, str]:
    """Make the agents' image, as `make agent-image` does; return its name and id."""
    output = engine.place / "agent-image.tar"
    done = subprocess.run(
        [sys.executable, "-m", "agentimage", "--docker-host", engine.url, "--output", str(output)],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(Path.home()),
            "PYTHONPATH": str(ROOT / "tools"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.strip().split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    output.unlink()
    return lines["image"], lines["imageId"]
